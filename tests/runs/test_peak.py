import math

import pytest

from vllm_loadgen import BenchmarkError, LiveRun, ParameterError
from vllm_loadgen.facts.scores import Probe
from vllm_loadgen.runs import peak


def probe(qps, valid):
    return Probe(qps=qps, valid=valid, duration_s=1.0)


def search(capacity, start):
    """The rates that a search tries where exactly those up to ``capacity`` hold."""
    probes = []
    while (rate := peak.next_rate(probes, start)) is not None:
        probes.append(probe(rate, rate <= capacity))
    return probes


@pytest.mark.parametrize("start", [0.9, 10.0, 31.0])
def test_the_search_ends_within_its_precision(start):
    probes = search(10.0, start)
    low, high = peak.bounds(probes)
    assert low <= 10.0 < high
    assert high / low <= peak.PRECISION
    assert len(probes) < 15


def test_the_search_brackets_then_bisects():
    assert peak.next_rate([], 4.0) == 4.0
    assert peak.next_rate([probe(4.0, True)], 4.0) == 6.0
    assert peak.next_rate([probe(6.0, False)], 6.0) == 4.0
    both = [probe(4.0, True), probe(6.0, False)]
    assert peak.next_rate(both, 4.0) == pytest.approx(math.sqrt(24), rel=1e-3)


def test_a_rate_that_held_above_one_that_failed_does_not_count():
    probes = [probe(4.0, True), probe(5.0, False), probe(5.5, True)]
    assert peak.bounds(probes) == (4.0, 5.0)


def test_probes_left_is_an_upper_bound():
    for start in (0.9, 10.0, 31.0):
        probes = search(10.0, start)
        bracketed = next(
            n for n in range(1, len(probes)) if {p.valid for p in probes[:n]} == {True, False}
        )
        for made in range(bracketed, len(probes) + 1):
            assert len(probes) - made <= peak.probes_left(probes[:made])


def test_limits_that_no_rate_keeps_are_one_error():
    probes = [probe(4.0 / 1.5**n, False) for n in range(10)]
    with pytest.raises(BenchmarkError, match="target_qps = 'auto': not even"):
        peak.next_rate(probes, 4.0)


@pytest.mark.process
def test_the_peak_is_confirmed_by_the_performance_test(params):
    lines = []
    with LiveRun.start(params.changed(target_qps="auto")) as run:
        test = peak.find_peak(run, lines.append)
    assert test.folder.name == "performance"
    assert test.result.verdict == "VALID"
    table = peak.peak_table(run.read())
    assert set(table["verdict"]) == {"VALID", "INVALID"}
    assert test.params.target_qps == table["queries/s"].iloc[-1]
    # Each probe is told with what is left, and the last as the full test.
    assert len(lines) == len(table)
    assert "more probes" in lines[0]
    assert lines[-1].endswith("VALID in the full test")
    # What follows at "auto" runs at the rate that was found.
    with run:
        assert run.perform("compliance").params.target_qps == test.params.target_qps


@pytest.mark.process
def test_a_search_goes_on_where_it_was_interrupted(params):
    params = params.changed(target_qps="auto")

    def stop(line):
        raise KeyboardInterrupt

    with LiveRun.start(params) as run, pytest.raises(KeyboardInterrupt):
        peak.find_peak(run, stop)
    (first,) = peak.finished_probes(run.read())
    with LiveRun.start(params) as run:
        peak.find_peak(run, lambda _: None)
    rates = [row["queries/s"] for _, row in peak.peak_table(run.read()).iterrows()]
    assert rates[0] == first.qps
    assert rates.count(first.qps) == 1


@pytest.mark.process
def test_accuracy_needs_no_rate(params):
    with LiveRun.start(params.changed(target_qps="auto")) as run:
        assert run.perform("accuracy").result.scenario == "Offline"
        with pytest.raises(BenchmarkError, match="target_qps = 'auto': is no rate"):
            run.perform("performance")


@pytest.mark.process
def test_a_finished_search_is_not_made_again(params, capsys):
    params = params.changed(target_qps="auto")
    with LiveRun.start(params) as run:
        first = peak.find_peak(run, lambda _: None)
    capsys.readouterr()
    with LiveRun.start(params) as run:
        again = peak.find_peak(run, lambda _: None)
    said = capsys.readouterr().out
    assert "of an earlier search reused" in said
    assert "performance: finished before, reused" in said
    assert again.result == first.result


@pytest.mark.process
def test_a_search_by_other_limits_is_refused(params):
    params = params.changed(target_qps="auto")
    with LiveRun.start(params) as run:
        peak.find_peak(run, lambda _: None)
    with (
        LiveRun.start(params.changed(ttft_limit_ms=300)) as run,
        pytest.raises(ParameterError, match="was made with ttft_limit_ms = 200, not 300"),
    ):
        peak.find_peak(run, lambda _: None)
