"""The gate between two runs: known decisions, exit statuses, refusals."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import RESULT, echo_params, seed_records, write_facts, write_test

from loadgen_study import ParameterError, Run, RunParams, cli
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict
from loadgen_study.runs.gate import METRICS, gate, visits

NOISE = (1.0, 1.004, 0.997, 1.001)


@pytest.fixture
def made(tmp_path):
    def make(name, speed=1.0, repeats=4, rouge=None, **facts):
        folder = write_facts(tmp_path / name, RunParams(), **facts)
        for number in range(repeats):
            records = seed_records()
            times = [column for column in records if column.endswith("_ns")]
            faster = records[times] / (speed * NOISE[number])
            records[times] = faster.astype(records[times].dtypes)
            test = "performance" + (f"-{number + 1}" if number else "")
            write_test(folder / test, RESULT, records)
        if rouge is not None:
            write_test(folder / "accuracy", RESULT | {"mode": "accuracy"}, seed_records())
            verdict = AccuracyVerdict(status="PASS", against="", comparisons=())
            scores = np.linspace(0.2, 0.4, 20) * rouge
            Accuracy(score={"rouge1": 30 * rouge}, verdict=verdict).write(
                folder / "accuracy" / "accuracy.json"
            )
            pd.DataFrame({
                "sample_index": range(20), "rouge1": scores, "summary": [str(x) for x in scores],
                "reference": "a", "scorable": True,
            }).to_parquet(folder / "accuracy" / "scores.parquet")  # fmt: skip
        return folder

    return make


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, 0, "The same within 3.0 %."),
        ({"speed": 1.1}, 0, "Better: "),
        ({"speed": 0.9}, 10, "Worse by more than 3.0 %: tokens_per_s, ttft_p90, tpot_p90"),
        ({"speed": 0.97}, 11, "Cannot tell: "),
        ({"repeats": 1}, 11, "Cannot tell: "),
    ],
)
def test_a_known_change_has_its_exit_status(made, capsys, changes, status, words):
    base, new = made("base"), made("new", **changes)
    assert cli.main(["gate", str(base), str(new)]) == status
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(words)


def test_the_change_is_that_of_the_figure(made):
    found = gate(Run.open(made("base")), Run.open(made("new", speed=0.5)), 0.03)
    lines = dict(line.split(": ", 1) for line in found.lines()[:-1])
    assert re.match(r"worse, \+\d+", lines["tpot_p90"])
    assert re.match(r"worse, -\d+", lines["tokens_per_s"])


def test_answers_and_speed_are_one_decision(made, capsys):
    base, same, spoilt = made("base", rouge=1.0), made("same", rouge=1.0), made("bad", rouge=0.8)
    found = gate(Run.open(base), Run.open(same), 0.03)
    assert found.metrics["score"].outcome == "same"
    assert found.status == 0
    found = gate(Run.open(base), Run.open(spoilt), 0.03)
    assert (found.outcome, found.metrics["tokens_per_s"].outcome) == ("worse", "same")
    assert found.lines()[-1] == "Worse by more than 3.0 %: score."
    assert cli.main(["gate", str(base), str(spoilt), "--metric", "tpot_p90"]) == 0


def test_what_may_not_be_compared_is_refused(made, capsys):
    base, other = (
        made("base"),
        made("other", dataset={"checksum": "sha256:0", "prompts_sha256": "0" * 64}),
    )
    assert cli.main(["gate", str(base), str(other)]) == 1
    assert "has other data than BASE" in capsys.readouterr().err
    with pytest.raises(ParameterError, match=r"score.* is not in both runs"):
        gate(Run.open(base), Run.open(made("new")), 0.03, ["score"])


def test_runs_without_an_answer_are_refused(made, capsys):
    folder = made("base", repeats=0)
    records = seed_records()
    records["first_token_ns"] = pd.array([pd.NA] * len(records), "Int64")
    write_test(folder / "performance", RESULT, records.assign(output_tokens=0))
    assert cli.main(["gate", str(folder), str(folder)]) == 1
    assert "shares no figure with BASE" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["0", "100%", "much", "-3%"])
def test_a_share_that_is_none_is_a_usage_error(capsys, given):
    with pytest.raises(SystemExit) as end:
        cli.main(["gate", "a", "b", f"--worse={given}"])
    assert end.value.code == 2
    assert "score" in METRICS


def test_two_settings_are_measured_in_turn():
    assert visits(0, 3) == [(0, [1]), (1, [1, 2]), (0, [2, 3]), (1, [3])]
    assert visits(3, 5) == [(1, [4]), (0, [4, 5]), (1, [5])]


@pytest.mark.quiet
def test_a_planted_slower_setting_is_found(tmp_path, capsys):
    files = []
    for name, tpot_ms in (("a", 2.0), ("b", 3.0)):
        params = echo_params(
            scenario="Offline", outputs=str(tmp_path / "out"), run_name="g", num_samples=8,
            warmup_queries=0, engine_options={"ttft_ms": 5, "tpot_ms": tpot_ms},
        )  # fmt: skip
        files.append(tmp_path / f"{name}.yaml")
        given = params.known() | {"outputs": str(tmp_path / "out"), "run_name": "g"}
        files[-1].write_text(yaml.safe_dump(given), encoding="utf-8")
    command = ["gate", "--run", *map(str, files), "--metric", "tpot_p90"]
    assert cli.main([*command, "--budget-s", "0.001"]) == 1
    assert "--budget-s = '0.001': is too short: 3 pairs take at least" in capsys.readouterr().err
    assert cli.main(command) == 10
    out = capsys.readouterr().out
    assert "3 pairs in" in out
    assert out.strip().splitlines()[-1] == "Worse by more than 3.0 %: tpot_p90."
    assert cli.main([*command, "--budget-s", "0.001"]) == 10  # measured before: reused
