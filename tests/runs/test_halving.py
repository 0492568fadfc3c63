"""A tuning by an objective: what is planted in the echo engine is found, or refused by name."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import (
    ENVIRONMENT,
    RESULT,
    ROOT,
    make_records,
    seed_records,
    write_articles,
    write_facts,
    write_test,
)

from loadgen_study import LiveRun, Run, RunParams
from loadgen_study.accuracy.paired import Difference
from loadgen_study.analysis.decision import Decision
from loadgen_study.doctor import refusals
from loadgen_study.facts.inputs import Environment
from loadgen_study.facts.scores import Estimate, Variant
from loadgen_study.report.report import Report
from loadgen_study.report.sections import tuning
from loadgen_study.runs import halving
from loadgen_study.runs.halving import Race, in_turn, race, race_table, serve_line, tune
from loadgen_study.runs.settings import BASE, Setting, worse_answers
from loadgen_study.runs.tuning import TUNED, own_changes
from vllm_loadgen.records.engine import EngineFacts

TEXT = "The council of town {i} voted on the {i}th of May for a bridge over the river {i}."


@pytest.fixture
def offline(params, tmp_path):
    """A batch of short answers, one at a time: the price falls with each that is served at once."""
    texts = {"article": TEXT, "highlights": TEXT}
    dataset = write_articles(tmp_path / "same.jsonl", 16, **texts)
    return params.changed(
        dataset=str(dataset), scenario="Offline", min_query_count=32, min_duration_ms=1,
        concurrency=1, price_per_hour=1.0, tune_objective="cost", instruction="{input}",
        chat_template=False, max_new_tokens=64,
    )  # fmt: skip


def made_tests(run):
    return len(list(run.folder.glob("tune/*/performance*/result.json")))


@pytest.mark.quiet
def test_the_planted_best_of_a_grid_is_found(offline):
    """Of 4 x 3 settings the fastest answers 8 at once, each in 10 ms; the run as it is 1 in 20."""
    engines = [{"ttft_ms": 20.0, "slots": 8}, {"ttft_ms": 10.0, "slots": 8},
               {"ttft_ms": 5.0, "slots": 2}]  # fmt: skip
    params = offline.changed(
        engine_options=engines[0], tune={"concurrency": [1, 2, 4, 8], "engine_options": engines}
    )
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
        kept = RunParams.recorded(run.folder / TUNED)
    best = "concurrency=8, ttft_ms=10.0, slots=8"
    assert table.index[table["outcome"] == "best"].tolist() == [best]
    assert table.loc["baseline", "outcome"] == "worse"
    assert (kept.concurrency, kept.engine_options) == (8, engines[1])
    assert (kept.tune, kept.tune_objective) == ({}, "tokens_per_s")
    # 11 settings and 4 of the run as it is; then the better half of these 12 again, with 3. Two
    # more rungs where the machine's noise leaves a doubt.
    assert 15 + 6 + 3 <= made_tests(run) <= 60
    assert (table["tests"] == 1).sum() == 5


@pytest.mark.quiet
def test_a_fast_option_that_drops_tokens_is_refused_by_name(offline):
    slow, fast = {"ttft_ms": 20.0}, {"ttft_ms": 10.0}
    wrong = {"ttft_ms": 2.0, "drop_every": 5}
    values = {"engine_options": [fast, wrong, {"ttft_msec": 1.0}]}
    params = offline.changed(engine_options=slow, tune=values, tune_accuracy=True)
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
        kept = RunParams.recorded(run.folder / TUNED)
        shown = tuning.race_text(run.read(), race(run.read()))
        assert tune(run, lambda _: None).equals(table)  # finished tests are reused
    assert table.loc["ttft_ms=2.0, drop_every=5", "outcome"].startswith(
        "refused: worse answers: ROUGE-1 -"
    )
    assert "ttft_msec" in table.loc["ttft_msec=1.0", "outcome"]
    assert kept.engine_options == fast
    assert "refused: ttft_ms=2.0, drop_every=5; ttft_msec=1.0." in shown
    assert f"make report PARAMS={run.folder / TUNED}`" in shown
    # The refused ones are measured once; the other with the run as it is until both ran twice.
    assert made_tests(run) == 4 + 3


@pytest.mark.quiet
def test_a_tuning_whose_every_value_fails_is_one_line_and_loses_nothing(offline):
    params = offline.changed(
        engine_options={"ttft_ms": 20.0, "fail_at": 0}, warmup_queries=0,
        tune={"engine_options": [{"ttft_msec": 1.0}, {"slot": 1}]},
    )  # fmt: skip
    said = []
    with LiveRun.start(params) as run:
        table = tune(run, said.append)
    assert table["outcome"].str.startswith("refused: not measured: ").all()
    assert said[-1].startswith("No setting can be used (baseline: not measured: ")
    assert "\n" not in said[-1]
    assert not (run.folder / TUNED).exists()
    assert len(list(run.folder.glob("tune/*/variant.json"))) == 3


@pytest.mark.quiet
def test_the_highest_valid_rate_decides(params, coarse):
    """The limits hold by the search; each search is a run of its own."""
    slow = {"ttft_ms": 20.0, "tpot_ms": 0.01, "slots": 2}
    fast = {**slow, "ttft_ms": 5.0}
    params = params.changed(
        engine_options=slow, tune={"engine_options": [fast]}, tune_objective="valid_qps"
    )
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
        kept = RunParams.recorded(run.folder / TUNED)
    title = "ttft_ms=5.0, tpot_ms=0.01, slots=2"
    assert table.loc[title, "outcome"] == "best"
    found = [Run.open(path.parent).peak for path in run.folder.glob("tune/01/**/peak.json")]
    rates = [peak.highest_valid_qps for peak in found if peak.confirmed]
    assert len(rates) >= 2
    assert kept.target_qps == min(rates)


# Without an engine ----------------------------------------------------------------------------
SEQS = RunParams(tune={"max_num_seqs": list(range(1, 21))}, tune_objective="goodput")
TUNINGS = 40


@pytest.fixture
def imitated(monkeypatch):
    """A function that makes a tuning of twenty settings whose tests are draws with 2 % noise."""
    monkeypatch.setitem(halving.OBJECTIVES, "goodput", halving.Objective("rate", float))
    monkeypatch.setattr(halving, "keep_best", lambda *_: None)
    monkeypatch.setattr(halving, "closing", lambda *_: "")

    def make(seed, speeds):
        draw, made = np.random.default_rng(seed), {}

        def measure(run, order, say):
            for one, _ in order:
                rate = speeds.get(one.title, 1.0) * math.exp(0.02 * draw.standard_normal())
                made.setdefault(one.title, Setting(one, ROOT, [], "")).tests.append(rate)

        monkeypatch.setattr(halving, "measure_all", measure)
        monkeypatch.setattr(halving, "settings_of", lambda _: list(made.values()))
        run = SimpleNamespace(params=SEQS, read=lambda: run)
        tune(run, lambda _: None)
        return race(run)

    return make


def test_the_best_of_twenty_is_found_through_noise_in_few_tests(imitated):
    """One setting is planted 10 % above 19 others and the run as it is.

    Of 40 tunings each finds it, in 56 tests on average. Eight tests of each would be 160, and more
    of the run as it is.
    """
    found = [imitated(seed, {"max_num_seqs=7": 1.1}) for seed in range(TUNINGS)]
    assert {one.best.title for one in found} == {"max_num_seqs=7"}
    assert all(one.helped for one in found)
    tests = [sum(len(one.tests) for one in each.settings) for each in found]
    assert sum(tests) / TUNINGS == pytest.approx(56, abs=0.1)


def test_where_none_is_faster_none_is_called_better(imitated):
    found = [imitated(seed, {}) for seed in range(TUNINGS)]
    assert sum(one.helped for one in found) <= 0.05 * TUNINGS
    assert all("cannot tell" in {d.outcome for d in one.decisions.values()} for one in found)


def test_a_rung_goes_forth_and_back_with_the_run_as_it_is_in_between():
    five = [Variant(title=title) for title in "abcde"]
    made = dict.fromkeys("abcde", 1) | {BASE: 3}
    order = [(one.title, number) for one, number in in_turn(five, made, 3)]
    assert order == [
        (BASE, 4), ("e", 2), ("d", 2), ("c", 2), ("b", 2), (BASE, 5), ("a", 2), (BASE, 6),
        ("a", 3), ("b", 3), ("c", 3), ("d", 3), (BASE, 7), ("e", 3), (BASE, 8),
    ]  # fmt: skip


def test_of_many_combinations_a_fixed_sample_is_measured():
    values = {"max_num_seqs": [8, 16, 32, 64], "concurrency": [2, 4, 8], "enforce_eager": [None]}
    grid = RunParams(tune=values, tune_objective="goodput", concurrency=4, max_num_seqs=8)
    assert len(grid.tune_settings) == 11  # without the run as it is
    assert grid.tune_settings[0] == {"max_num_seqs": 8, "concurrency": 2, "enforce_eager": None}
    many = grid.changed(tune={**values, "dtype": ["auto", "float16", "float32"]})
    assert many.combinations == 36
    assert len(many.tune_settings) in (23, 24)  # without the run as it is, if it was drawn
    assert many.tune_settings == many.changed().tune_settings
    assert len({str(one) for one in many.tune_settings}) == len(many.tune_settings)
    alone = grid.changed(tune_objective="tokens_per_s")
    assert len(alone.tune_settings) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tune_objective": "valid_qps", "scenario": "Offline"}, "only Server has limits"),
        ({"tune_objective": "goodput", "scenario": "Offline"}, "Give scenario Server"),
        ({"tune_objective": "cost"}, "has no price. Give price_per_hour"),
        ({"tune_objective": "valid_qps", "workers": 2}, "one engine at a time"),
        ({"tune_objective": "valid_qps", "tune": {"target_qps": [1.0]}}, "the rate itself"),
    ],
)
def test_an_objective_without_what_it_needs_is_refused_with_the_cure(params, changes, words):
    here = Environment.model_validate(ENVIRONMENT)
    given = params.changed(**{"tune": {"concurrency": [2]}, **changes})
    assert words in str(next(refusals(given, here, None)))


@pytest.mark.parametrize(
    ("score", "agreement", "words"),
    [
        ((-4.1, -6.0, -2.0), None, "worse answers: ROUGE-1 -4.10 [-6.00, -2.00] points"),
        ((-4.1, -9.0, 1.0), None, ""),
        ((-4.1, None, None), None, ""),
        (None, (-0.05, -0.06, -0.04), "worse answers: first choices -5.00 [-6.00, -4.00] % points"),
        (None, None, ""),
    ],
)
def test_answers_are_worse_beyond_their_interval_alone(score, agreement, words):
    def made(ends):
        return ends and Estimate(value=ends[0], low=ends[1], high=ends[2])

    metric = RunParams().rules.task.scorer.main
    assert worse_answers(Difference(metric, made(score), made(agreement))) == words
    assert worse_answers(None) == ""


def test_a_lower_price_is_better_and_shown_as_a_price():
    one, other = (Setting(Variant(title=title), ROOT, [0, 0], "") for title in ("a", "b"))
    decisions = {"a": Decision("same", 0.0, 0.0, 0.0), "b": Decision("worse", 1.0, 0.25, 1.5)}
    found = Race(halving.OBJECTIVES["cost"], 0.03, [one, other],
                 {"a": [1.0, 1.0], "b": [2.0, 2.0]}, one, decisions)  # fmt: skip
    table = race_table(found)
    assert table.loc["b"].tolist() == [2.0, 2, "+100.0 % [+25.0 %, +150.0 %]", "worse"]
    assert table.loc["a", "outcome"] == "best"
    assert found.alike == []
    unsure = {**decisions, "b": Decision("cannot tell", -0.1)}
    assert replace(found, decisions=unsure).alike == ["b"]


def test_answers_that_could_not_be_compared_are_refused_where_they_are_a_condition(tmp_path):
    params = RunParams(tune={"concurrency": [4]}, tune_objective="cost", price_per_hour=1.0,
                       tune_accuracy=True)  # fmt: skip
    run = write_facts(tmp_path / "run", params)
    in_time = make_records([(i, i, i, i + 0.1, i + 0.6, 50, 11) for i in range(20)])
    for place, (title, changes) in enumerate(((BASE, {}), ("concurrency=4", {"concurrency": 4}))):
        folder = write_facts(run / "tune" / f"0{place}", params.changed(**changes))
        Variant(title=title, changes=changes).write(folder / "variant.json")
        write_test(folder / "performance", RESULT, in_time)
    refused = [one.refused for one in race(Run.open(run)).settings]
    assert refused == ["", "its answers could not be compared"]


@pytest.mark.parametrize("objective", ["goodput", "tokens_per_s"])
def test_values_are_measured_at_the_rate_that_the_run_found(objective):
    params = RunParams(target_qps="auto", tune={"max_num_seqs": [8]}, tune_objective=objective)
    found = RunParams(target_qps=7.0)
    run = SimpleNamespace(params=params, test_params=lambda *_: found, environment=None)
    assert own_changes(run, {"max_num_seqs": 8}) == {"target_qps": 7.0, "max_num_seqs": 8}


@pytest.mark.parametrize(("gpus", "price"), [((), None), (("H200",) * 4, 6.0)])
def test_a_setting_of_more_gpus_has_the_price_of_more(gpus, price):
    params = RunParams(tune={"tensor_parallel_size": [4]}, tune_objective="cost",
                       price_per_hour=3.0, tensor_parallel_size=2)  # fmt: skip
    run = SimpleNamespace(params=params, environment=SimpleNamespace(gpus=gpus))
    changes = {"tensor_parallel_size": 4}
    assert own_changes(run, changes).get("price_per_hour") == price


def test_a_test_that_breaks_a_limit_is_refused_however_fast(tmp_path):
    params = RunParams(tune={"concurrency": [4]}, tune_objective="cost", price_per_hour=1.0)
    run = write_facts(tmp_path / "run", params)
    in_time = make_records([(i, i, i, i + 0.1, i + 0.6, 50, 11) for i in range(20)])
    made = {BASE: ({}, in_time), "concurrency=4": ({"concurrency": 4}, seed_records())}
    for place, (title, (changes, records)) in enumerate(made.items()):
        folder = write_facts(run / "tune" / f"0{place}", params.changed(**changes))
        Variant(title=title, changes=changes).write(folder / "variant.json")
        write_test(folder / "performance", RESULT, records)
    opened = Run.open(run)
    found = race(opened)
    refused = {one.title: one.refused for one in found.settings}
    assert refused == {BASE: "", "concurrency=4": "breaks its limit on TTFT"}
    assert not found.helped
    shown = Report(opened).extra_tests().parts
    assert shown[0].loc["concurrency=4", "outcome"] == "refused: breaks its limit on TTFT"
    assert "No setting is better than the run as it is beyond doubt" in shown[1]
    assert "refused: concurrency=4." in shown[1]


def test_the_line_that_serves_a_setting(tmp_path):
    params = RunParams(max_num_seqs=64, engine_options={"async_scheduling": False}, model="a/b")
    folder = write_facts(tmp_path, params)
    line = serve_line(Run.open(folder))
    cpu = "VLLM_CPU_KVCACHE_SPACE=2 VLLM_CPU_NUM_OF_RESERVED_CPU=0"  # all cores, where they are few
    server = "python -m vllm.entrypoints.openai.api_server --model a/b"
    assert line.startswith(f"{cpu} {server} --no-trust-remote-code")
    assert line.endswith("--no-enable-prefix-caching --seed 0 --no-async-scheduling")
    assert "--max-num-seqs 64" in line
    EngineFacts(engine="vllm", options={"max_num_seqs": 8, "stream_interval": 10**6}).write(
        folder / "engine.json"
    )
    assert serve_line(Run.open(folder)).endswith(f"{server} --max-num-seqs 8")
    environment = {"packages": {"vllm": "0.32.0"}}
    cuda = write_facts(tmp_path / "cuda", params, environment=environment)
    assert " vllm serve a/b --no-trust-remote-code" in serve_line(Run.open(cuda))
    echo = write_facts(tmp_path / "echo", params.changed(engine="echo"))
    assert serve_line(Run.open(echo)) == ""
