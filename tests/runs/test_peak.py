import pytest
from helpers import RESULT, THREE, imitated, imitated_run, make_records

from loadgen_study import LiveRun, RunParams
from loadgen_study.facts.scores import Peak, Probe
from loadgen_study.report.sections import peak as peak_section
from loadgen_study.report.sections import throughput
from loadgen_study.runs import peak, search
from vllm_loadgen import BenchmarkError, ParameterError
from vllm_loadgen.harness.loadgen import expected_queries

OFFICIAL = RunParams(
    target_qps="auto", min_duration_ms=None, min_query_count=None, target_latency_percentile=None
)


def queries(params, samples, changes):
    return expected_queries(params.changed(**changes), samples, "performance")


@pytest.mark.parametrize(
    ("rate", "samples", "issued"),
    # At p99 2,010 queries may have 10 over a limit; then a minute's; of more than the dataset has,
    # the fewest samples that come to it in whole passes.
    [(0.5, 2010, 2010), (20.0, 2010, 2010), (120.0, 7200, 7200), (300.0, 9000, 18_000)],
)
def test_a_probe_with_official_data_is_no_whole_pass_of_them(rate, samples, issued):
    changes = peak.probe_changes(OFFICIAL, 13_368, rate)
    assert changes["performance_samples"] == samples
    assert queries(OFFICIAL, 13_368, changes) == issued
    assert queries(OFFICIAL, 13_368, {"target_qps": rate}) >= 13_368


@pytest.mark.parametrize("rate", [0.5, 1.3, 10.0])
def test_a_probe_that_costs_no_more_in_full_is_left_as_it_is(rate):
    params = RunParams(target_qps="auto")
    changes = peak.probe_changes(params, 64, rate)
    assert changes == {"target_qps": rate, "min_duration_ms": 60_000}


def test_a_probe_has_never_more_queries_than_the_full_test():
    for rate in (0.1, 1.0, 7.0, 77.0, 400.0):
        for samples in (1, 50, 100, 3000, 13_368):
            for params in (OFFICIAL, RunParams(target_qps="auto")):
                changes = peak.probe_changes(params, samples, rate)
                full = queries(params, samples, {"target_qps": rate})
                assert queries(params, samples, changes) <= full
                drawn = changes.get("performance_samples", samples)
                assert drawn >= min(samples, 64)


def test_the_first_guess_takes_few_samples_too():
    assert queries(OFFICIAL, 13_368, peak.guess_changes(OFFICIAL, 13_368)) == 1024
    small = peak.guess_changes(OFFICIAL, 100)
    assert small == {"scenario": "Offline", "target_qps": 1.0, "min_duration_ms": 1}


def test_the_harness_is_named_where_it_is_the_limit():
    held = Probe(qps=4.0, valid=True, duration_s=1.0)
    late = Probe(qps=4.1, valid=False, duration_s=1.0, reached_qps=3.0)
    slow = Probe(qps=4.1, valid=False, duration_s=1.0)
    said = "The harness is the limit here, not the system: asked for 4.1 queries/s it issued 3."
    assert peak.harness_limit([held, late]) == said
    assert peak.harness_limit([held, slow]) == ""
    assert peak.harness_limit([held]) == ""


def test_a_failure_says_whether_it_was_slow_or_had_too_few_queries():
    held = Probe(qps=4.0, valid=True, duration_s=1.0)
    few = Probe(qps=4.1, valid=False, duration_s=1.0, why="too few queries")
    slow = Probe(qps=4.1, valid=False, duration_s=1.0, why="too slow")

    def above(*probes):
        found = Peak(offline_samples_per_s=9, highest_valid_qps=4, lowest_invalid_qps=4.1,
                     confirmed=True, probes=(held, *probes))  # fmt: skip
        return peak.lowest_that_fails(imitated_run(imitated(make_records(THREE)), peak=found))

    assert above(few) == "4.1 fails: too few queries"
    assert above(few, slow) == "4.1 fails: too slow"
    assert above(Probe(qps=4.1, valid=False, duration_s=1.0)) == "4.1 fails"


@pytest.mark.parametrize(
    ("slow", "queries", "why"), [(0, 64, ""), (7, 64, "too slow"), (2, 64, "too few queries")]
)
def test_a_probe_knows_why_it_failed(slow, queries, why):
    """At p90 a tenth may be over; early stopping lets 1 of 64 be."""
    rows = [(2 * i, 2 * i, 2 * i, 2 * i + (2.5 if i < slow else 0.2), 2 * i + 3, 9, 50)
            for i in range(queries)]  # fmt: skip
    settings = RESULT["effective_settings"] | {"target_latency_percentile": 0.9}
    verdict = "INVALID" if why else "VALID"
    result = RESULT | {"verdict": verdict, "effective_settings": settings}
    params = RunParams.from_dict({"target_qps": 0.5})
    assert peak.probe_of(imitated(make_records(rows), result, params)).why == why


@pytest.mark.quiet
@pytest.mark.usefixtures("coarse")
def test_the_peak_is_confirmed_by_the_performance_test(params, capsys):
    params = params.changed(target_qps="auto")
    lines = []
    with LiveRun.start(params) as run:
        test = peak.find_peak(run, lines.append)
    assert test.folder.name == "performance"
    assert test.result.verdict == "VALID"
    table = peak.peak_table(run.read())
    assert {verdict.split(":")[0] for verdict in table["verdict"]} == {"VALID", "INVALID"}
    assert test.params.target_qps == table["queries/s"].iloc[-1]
    # Each is announced with its cost and told with what is left, the last as the full test.
    assert lines[0] == "first guess: 48 samples at once (Offline)"
    assert len(lines) == 1 + 2 * len(table)
    assert "queries/s: a probe of 48 queries, about " in lines[1]
    assert "more probe" in lines[2]
    assert "and the full test of " in lines[2]
    assert "queries/s: the full test of " in lines[-2]
    assert lines[-1].endswith("VALID in the full test")
    said = peak_section.text(run.read())
    rate = f"{test.params.rate:.4g} queries/s"
    assert said.startswith(f"Highest VALID target: {rate}, confirmed")
    # What follows at "auto" runs at the rate that was found.
    with run:
        assert run.perform("compliance").params.target_qps == test.params.target_qps
    # A finished search is not made again.
    capsys.readouterr()
    with LiveRun.start(params) as run:
        again = peak.find_peak(run, lambda _: None)
    said = capsys.readouterr().out
    assert "of an earlier search reused" in said
    assert "performance: finished before, reused" in said
    assert again.result == test.result
    # Nor is one by other limits taken for it.
    with (
        LiveRun.start(params.changed(ttft_limit_ms=300)) as run,
        pytest.raises(ParameterError, match="was made with ttft_limit_ms = 200, not 300"),
    ):
        peak.find_peak(run, lambda _: None)


@pytest.mark.quiet
@pytest.mark.usefixtures("coarse")
def test_a_search_goes_on_where_it_was_interrupted(params):
    params = params.changed(target_qps="auto")

    def stop(line):
        if "more probe" in line:
            raise KeyboardInterrupt

    with LiveRun.start(params) as run, pytest.raises(KeyboardInterrupt):
        peak.find_peak(run, stop)
    (first,) = map(peak.probe_of, run.read().finished_tests(peak.PROBES).values())
    with LiveRun.start(params) as run:
        peak.find_peak(run, lambda _: None)
    rates = [row["queries/s"] for _, row in peak.peak_table(run.read()).iterrows()]
    assert rates[0] == first.qps
    assert rates.count(first.qps) == 1


@pytest.mark.quiet
def test_accuracy_needs_no_rate(params):
    with LiveRun.start(params.changed(target_qps="auto")) as run:
        assert run.perform("accuracy").result.scenario == "Server"
        with pytest.raises(BenchmarkError, match="target_qps = 'auto': is not a number"):
            run.perform("performance")


@pytest.mark.quiet
def test_a_rate_that_the_harness_did_not_offer_is_no_peak(params, monkeypatch):
    """An engine that answers at once: without limits that bind, the harness ends the search."""
    monkeypatch.setattr(search, "GROWTH", 4.0)  # some tests of 10^4 queries, in place of twenty
    monkeypatch.setattr(search, "PRECISION", 2.5)
    params = params.changed(
        target_qps="auto", engine_options={"ttft_ms": 0.0, "tpot_ms": 0.0}, num_samples=4,
        min_duration_ms=200, min_query_count=16, ttft_limit_ms=None,
    )  # fmt: skip
    lines = []
    with LiveRun.start(params) as run:
        test = peak.find_peak(run, lines.append)
    assert test.load.arrivals_per_s > 0.9 * test.params.rate
    assert any("not offered, the harness reached" in line for line in lines)
    assert "The harness is the limit here, not the system" in lines[-1]
    assert "not the system" in peak_section.text(run.read())
    # The report of such a test claims nothing of the machine.
    table = peak.peak_table(run.read())
    late = table.index[table["verdict"].str.startswith("not offered")][0]
    said = throughput.text(run.read(), run.read().test(f"peak/{late:02d}"))
    assert "The harness is the limit" in said
    assert "is the rate that arrived" not in said
