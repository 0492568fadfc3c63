import math

import pytest
from helpers import echo_params, write_articles

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.report import text as narrative
from vllm_loadgen.runs import peak as explore
from vllm_loadgen.runs.live import Run
from vllm_loadgen.runs.peak import Probe


def search(capacity, start):
    """The rates that a search tries where exactly those up to ``capacity`` hold."""
    probes = []
    while (rate := explore.next_rate(probes, start)) is not None:
        probes.append(Probe(rate, rate <= capacity, 1.0))
    return probes


@pytest.mark.parametrize("start", [0.9, 10.0, 31.0])
def test_the_search_ends_within_its_precision(start):
    probes = search(10.0, start)
    low, high = explore.bounds(probes)
    assert low <= 10.0 < high
    assert high / low <= explore.PRECISION
    assert len(probes) < 15


def test_the_search_brackets_then_bisects():
    assert explore.next_rate([], 4.0) == 4.0
    assert explore.next_rate([Probe(4.0, True, 1)], 4.0) == 6.0
    assert explore.next_rate([Probe(6.0, False, 1)], 6.0) == 4.0
    both = [Probe(4.0, True, 1), Probe(6.0, False, 1)]
    assert explore.next_rate(both, 4.0) == pytest.approx(math.sqrt(24), rel=1e-3)


def test_a_rate_that_held_above_one_that_failed_does_not_count():
    probes = [Probe(4.0, True, 1), Probe(5.0, False, 1), Probe(5.5, True, 1)]
    assert explore.bounds(probes) == (4.0, 5.0)


def test_probes_left_is_an_upper_bound():
    for start in (0.9, 10.0, 31.0):
        probes = search(10.0, start)
        bracketed = next(
            n for n in range(1, len(probes)) if {p.valid for p in probes[:n]} == {True, False}
        )
        for made in range(bracketed, len(probes) + 1):
            assert len(probes) - made <= explore.probes_left(probes[:made])


def test_limits_that_no_rate_keeps_are_one_error():
    probes = [Probe(4.0 / 1.5**n, False, 1) for n in range(10)]
    with pytest.raises(BenchmarkError, match="target_qps = 'auto': not even"):
        explore.next_rate(probes, 4.0)


@pytest.fixture
def params(tmp_path):
    """Sixteen articles on an echo engine that serves two at once, 20 ms each."""
    dataset = write_articles(tmp_path / "a.jsonl", 16)
    options = {"ttft_ms": 20.0, "tpot_ms": 0.01, "slots": 2}
    return echo_params(
        dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r", engine_options=options,
        max_new_tokens=4, min_duration_ms=400, min_query_count=48, target_latency_percentile=0.9,
        ttft_limit_ms=200, warmup_queries=0,
    )  # fmt: skip


def test_the_peak_is_confirmed_by_the_performance_test(params):
    lines = []
    with Run.start(params.changed(target_qps="auto"), "performance") as run:
        test = explore.find_peak(run, lines.append)
    assert test.folder.name == "performance"
    assert test.result["verdict"] == "VALID"
    table = explore.peak_table(run)
    assert set(table["verdict"]) == {"VALID", "INVALID"}
    assert test.params.target_qps == table["queries/s"].iloc[-1]
    # Each probe is told with what is left, and the last as the full test.
    assert len(lines) == len(table)
    assert "more probes" in lines[0]
    assert lines[-1].endswith("VALID in the full test")
    # What follows at "auto" runs at the rate that was found.
    with run:
        assert run.perform("compliance").params.target_qps == test.params.target_qps


def test_a_search_goes_on_where_it_was_interrupted(params):
    params = params.changed(target_qps="auto")

    def stop(line):
        raise KeyboardInterrupt

    with Run.start(params, "performance") as run, pytest.raises(KeyboardInterrupt):
        explore.find_peak(run, stop)
    (first,) = explore._finished_probes(run)
    with Run.start(params, "performance") as run:
        explore.find_peak(run, lambda _: None)
    rates = [probe["queries/s"] for _, probe in explore.peak_table(run).iterrows()]
    assert rates[0] == first.qps
    assert rates.count(first.qps) == 1


def test_accuracy_needs_no_rate(params):
    with Run.start(params.changed(target_qps="auto"), "accuracy") as run:
        assert run.perform("accuracy").result["scenario"] == "Offline"
        with pytest.raises(BenchmarkError, match="target_qps = 'auto': is no rate"):
            run.perform("performance")


def test_a_sweep_of_rates_and_of_concurrencies(params):
    params = params.changed(sweep_qps=[20.0, 60.0], sweep_concurrency=[1, 2])
    with Run.start(params) as run:
        table = explore.sweep(run)
        again = explore.sweep(run)  # makes nothing anew
    assert list(table.index) == ["1-at-once", "2-at-once", "20-qps", "60-qps"]
    assert again.equals(table)
    rates = table[table["kind"] == "rate"]
    assert (rates["goodput_per_s"] <= rates["samples_per_s"] + 1e-9).all()
    at_once = table[table["kind"] == "concurrency"]["samples_per_s"]
    assert at_once["2-at-once"] > at_once["1-at-once"]


def test_tuning_varies_one_parameter_at_a_time(params):
    changes = {
        "max_num_seqs": [4],
        "engine_options": [{"ttft_ms": 5.0, "slots": 4}, {"ttft_msec": 1}],
        "enable_prefix_caching": [True],
    }
    params = params.changed(tune=changes, tune_accuracy=True, scenario="Offline")
    with Run.start(params) as run:
        table = explore.tune(run, lambda _: None)
        again = explore.tune(run, lambda _: None)
    assert again.equals(table)
    assert list(table.index) == [
        "baseline", "max_num_seqs=4", "ttft_ms=5.0, slots=4", "ttft_msec=1",
        "enable_prefix_caching=True", "baseline again",
    ]  # fmt: skip
    base = table.loc[["baseline", "baseline again"], "ratio"]
    assert base.mean() == pytest.approx(1)
    # An option that the engine refuses is a row, not an end.
    assert "ttft_msec" in table.loc["ttft_msec=1", "problem"]
    assert math.isnan(table.loc["ttft_msec=1", "tokens_per_s"])
    assert table.loc["enable_prefix_caching=True", "rules"] == "Prefix caching"
    assert table.loc["max_num_seqs=4", "rules"] == "kept"
    assert table["rouge1"].notna().sum() == 5
    text = narrative.tuning_text(table)
    assert f"came with {table['tokens_per_s'].idxmax()}" in text
    assert narrative.tuning_text(table.iloc[:0]) == ""
