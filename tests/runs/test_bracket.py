"""``target_qps: measured``: rates from the accuracy test, and the capacity between two of them."""

import math

import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun
from loadgen_study.facts.scores import Probe
from loadgen_study.runs import bracket
from loadgen_study.runs.repeats import measure
from loadgen_study.runs.search import next_bracket


def probes(*tests):
    return [Probe(qps=qps, valid=valid, duration_s=9.0) for qps, valid in tests]


@pytest.mark.parametrize(
    ("made", "rate"),
    [
        ((), 1.0),
        (((1.0, True),), 1.5),
        (((1.0, False),), 0.667),
        (((1.0, True), (1.5, False)), None),
        (((1.0, False), (0.667, True)), None),
        (((1.0, True), (1.5, True)), 2.25),
        (((1.0, False), (0.667, False), (0.444, False)), None),
        (((1.0, True), (1.5, True), (2.25, True)), None),
    ],
)
def test_rates_are_tried_until_the_capacity_lies_between_two(made, rate):
    assert next_bracket(probes(*made), 1.0) == rate


@pytest.fixture
def params(tmp_path):
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    return echo_params(
        dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r", target_qps="measured",
        min_query_count=12, min_duration_ms=1, target_latency_percentile=0.5,
    )  # fmt: skip


@pytest.mark.quiet
def test_the_highest_valid_rate_is_the_performance_test(params, monkeypatch):
    monkeypatch.setattr(bracket, "measured_rate", lambda *_: 50.0)
    lines = []
    with LiveRun.start(params) as run:
        test = bracket.find_rate(run, lines.append)
    found = run.read()
    assert found.peak is not None
    assert [probe.qps for probe in found.peak.probes] == [30.0, 45.0, 67.5]
    assert test.params.rate == found.peak.highest_valid_qps == 67.5
    assert found.peak.confirmed
    assert found.peak.lowest_invalid_qps is None
    assert found.params.target_qps == "measured"
    assert sorted(found.finished_tests("peak/[0-9]*")) == ["peak/01", "peak/02"]
    # Again: nothing is made twice.
    with LiveRun.start(params) as run:
        assert measure(run).params.rate == 67.5


@pytest.mark.quiet
def test_offline_is_sized_by_the_batch_rate(params, monkeypatch):
    monkeypatch.setattr(bracket, "measured_rate", lambda *_: 50.0)
    with LiveRun.start(params.changed(scenario="Offline")) as run:
        assert measure(run).params.rate == 50.0


@pytest.mark.quiet
def test_the_batch_rate_is_that_of_the_accuracy_test(params):
    # Slow enough that its samples, due within 12 ms, are due at once.
    with LiveRun.start(params.changed(engine_options={"ttft_ms": 300.0})) as run:
        test = run.perform("accuracy")
        rate = bracket.measured_rate(run)
    assert not run.read().has("peak/offline")
    assert rate == pytest.approx(len(test.latencies) / test.latencies["done_s"].max())
    assert math.isfinite(rate)


@pytest.mark.quiet
def test_an_accuracy_test_whose_samples_came_one_by_one_gives_no_batch_rate(params):
    options = {"ttft_ms": 0.0, "tpot_ms": 0.0}
    with LiveRun.start(params.changed(engine_options=options)) as run:
        run.perform("accuracy")
        bracket.measured_rate(run)
    assert run.read().batch is None
    assert run.read().has("peak/offline")
