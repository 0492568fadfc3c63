import pytest

from loadgen_study import LiveRun
from loadgen_study.runs.sweep import sweep
from vllm_loadgen import ParameterError

pytestmark = pytest.mark.process


def test_a_sweep_of_rates_and_of_concurrencies(params):
    params = params.changed(sweep_qps=[20.0, 60.0], sweep_concurrency=[1, 2])
    with LiveRun.start(params) as run:
        table = sweep(run)
        again = sweep(run)  # makes nothing anew
    with LiveRun.start(params.changed(sweep_qps=[20.0, 40.0])) as run:
        grown = sweep(run)  # makes what is missing
    assert list(table.index) == ["1-at-once", "2-at-once", "20-qps", "60-qps"]
    assert again.equals(table)
    assert list(grown.index) == ["1-at-once", "2-at-once", "20-qps", "40-qps", "60-qps"]
    assert grown.loc["20-qps"].equals(table.loc["20-qps"])
    rates = table[table["kind"] == "rate"]
    assert (rates["goodput_per_s"] <= rates["samples_per_s"] + 1e-9).all()
    at_once = table[table["kind"] == "concurrency"]["samples_per_s"]
    assert at_once["2-at-once"] > at_once["1-at-once"]


def test_a_sweep_that_was_asked_otherwise_is_refused(params):
    with LiveRun.start(params.changed(sweep_qps=[60.0])) as run:
        sweep(run)
    with (
        LiveRun.start(params.changed(sweep_qps=[60.0], ttft_limit_ms=300)) as run,
        pytest.raises(ParameterError, match="sweep/60-qps was made with ttft_limit_ms = 200"),
    ):
        sweep(run)


def test_rates_that_are_all_but_equal_are_two_tests(params):
    with LiveRun.start(params.changed(sweep_qps=[60.00001, 60.00002])) as run:
        assert len(sweep(run)) == 2
