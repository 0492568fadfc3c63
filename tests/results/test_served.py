"""A run against a server of another machine is not held against the limits of the client's."""

import pytest
from helpers import RESULT, seed_records, write_facts, write_test

from vllm_loadgen import Run, RunParams
from vllm_loadgen.facts.inputs import MachineLimits
from vllm_loadgen.report import text

LIMITS = MachineLimits(device="cpu", memory_bandwidth_gb_s=0.1, matrix_tflop_s={"bfloat16": 0.1})


@pytest.mark.parametrize(
    ("url", "here"), [("http://127.0.0.1:8000", True), ("http://other:8000", False)]
)
def test_a_remote_server_has_no_roofline(tmp_path, url, here):
    params = RunParams(engine="openai", base_url=url)
    write_facts(tmp_path, params)
    write_test(tmp_path / "performance", RESULT, seed_records())
    LIMITS.write(tmp_path / "machine.json")
    run = Run.open(tmp_path)
    assert (run.roofline is not None) == here
    assert bool(run.impossible) == here
    said = text.limits_text(run, run.performance)
    assert ("was not measured" in said) != here
    assert ("the server's machine was not measured" in text.devices(run)) != here
    assert "1 server, asked from 2 cores of AMD EPYC" in text.devices(run)
