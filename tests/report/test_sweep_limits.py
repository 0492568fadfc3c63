import re

import pytest
from helpers import MODEL, RESULT, draws, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.facts.inputs import MachineLimits
from loadgen_study.report.display import table as shown
from loadgen_study.report.sections import sweep
from loadgen_study.runs.sweep import sweep_table


def made(folder, measured=True):
    """A run with two tests of a sweep, whose answers have 11 tokens in a second."""
    write_facts(folder, RunParams())
    if measured:
        rates = {MODEL["dtype"]: 0.2}
        MachineLimits(device="cpu", memory_bandwidth_gb_s=30.0, matrix_tflop_s=rates).write(
            folder / "machine.json"
        )
    for name in ("1-qps", "2-qps"):
        rows = [(i, i, i, i + 0.2, i + 1.2, 9, 11) for i in range(20)]
        write_test(folder / "sweep" / name, RESULT, make_records(rows))
    return Run.open(folder)


def test_each_point_is_held_against_the_limit_at_its_batch(tmp_path):
    run = made(tmp_path / "run")
    figure, _, table = sweep.limits_parts(sweep.limits_table(run, sweep_table(run)))
    found = run.roofline_of(run.test("sweep/1-qps"))
    assert table.loc["1-qps", "served_at_once"] == found.batch
    assert table.loc["1-qps", "limit_share"] == pytest.approx(found.decode_limit_ms / 100)
    ratio = table["decode_tokens_per_s"] / table["limit_tokens_per_s"]
    assert ratio.tolist() == pytest.approx(table["limit_share"].tolist())
    assert set(table["bound_by"]) == {"memory bandwidth"}
    assert draws(figure)
    drawn = figure.chart["datasets"]["limits"].splitlines()
    assert drawn[0].split(",")[:3] == ["test", "served_at_once", "decode_tokens_per_s"]
    assert len(drawn) == 3


def test_the_table_has_a_readers_names(tmp_path):
    run = made(tmp_path / "run")
    *_, frame = sweep.limits_parts(sweep.limits_table(run, sweep_table(run)))
    heads = re.findall(r"<th.*?>(.*?)</th>", shown(frame).data)
    assert heads == ["test", "served at once, queries", "decode, tokens/s", "its limit, tokens/s",
                     "share of its limit", "bound by"]  # fmt: skip


def test_without_measured_limits_there_is_no_part(tmp_path):
    run = made(tmp_path / "run", measured=False)
    assert sweep.limits_parts(sweep.limits_table(run, sweep_table(run))) == []


def test_of_several_runs_the_median_is_held_against_it_and_one_without_tpot_not(tmp_path):
    run = made(tmp_path / "run")
    slower = [(i, i, i, i + 0.2, i + 2.2, 9, 11) for i in range(20)]
    write_test(run.folder / "sweep" / "2-qps-2", RESULT, make_records(slower))
    one_token = [(i, i, i, i + 0.2, i + 0.2, 9, 1) for i in range(20)]
    write_test(run.folder / "sweep" / "3-qps", RESULT, make_records(one_token))
    _, _, table = sweep.limits_parts(sweep.limits_table(run, sweep_table(run)))
    assert table.index.tolist() == ["1-qps", "2-qps"]
    # Of two runs the slower one is taken: ten tokens in 2 s.
    tpot_ms = table.loc["2-qps", "served_at_once"] / table.loc["2-qps", "decode_tokens_per_s"] * 1e3
    assert tpot_ms == pytest.approx(200)
