import pytest

from vllm_loadgen import LiveRun
from vllm_loadgen.runs.sweep import sweep

pytestmark = pytest.mark.process


def test_a_sweep_of_rates_and_of_concurrencies(params):
    params = params.changed(sweep_qps=[20.0, 60.0], sweep_concurrency=[1, 2])
    with LiveRun.start(params) as run:
        table = sweep(run)
        again = sweep(run)  # makes nothing anew
    assert list(table.index) == ["1-at-once", "2-at-once", "20-qps", "60-qps"]
    assert again.equals(table)
    rates = table[table["kind"] == "rate"]
    assert (rates["goodput_per_s"] <= rates["samples_per_s"] + 1e-9).all()
    at_once = table[table["kind"] == "concurrency"]["samples_per_s"]
    assert at_once["2-at-once"] > at_once["1-at-once"]
