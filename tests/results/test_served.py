"""A run against a server is not held against limits: its weights and their type are not known."""

import pytest
import yaml
from helpers import RESULT, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.facts.inputs import MachineLimits
from loadgen_study.params import NOT_KNOWN
from loadgen_study.report.parameters import parameters_table
from loadgen_study.report.sections import configuration, limits, provenance, subject
from vllm_loadgen import ParameterError

LIMITS = MachineLimits(device="cpu", memory_bandwidth_gb_s=0.1, matrix_tflop_s={"bfloat16": 0.1})


@pytest.mark.parametrize(
    ("url", "here"), [("http://127.0.0.1:8000", True), ("http://other:8000", False)]
)
def test_a_server_has_no_roofline(tmp_path, url, here):
    params = RunParams(engine="openai", base_url=url)
    write_facts(tmp_path, params)
    write_test(tmp_path / "performance", RESULT, seed_records())
    LIMITS.write(tmp_path / "machine.json")
    run = Run.open(tmp_path)
    assert run.roofline is None
    assert run.impossible == []
    assert "were not read" in limits.text(run)
    assert ("the server's machine was not measured" in subject.devices(run)) != here
    assert "1 server, asked from 2 cores of AMD EPYC" in subject.devices(run)


def test_what_was_not_asked_of_a_server_is_not_recorded(tmp_path):
    params = RunParams(engine="openai", base_url="http://127.0.0.1:8000")
    write_facts(tmp_path, params)
    write_test(tmp_path / "performance", RESULT, seed_records())
    recorded = yaml.safe_load((tmp_path / "params.yaml").read_text(encoding="utf-8"))
    of_the_server = RunParams.names("server")
    assert {name: recorded[name] for name in of_the_server} == dict.fromkeys(of_the_server)
    run = Run.open(tmp_path)
    assert run.params == params  # and it is read back
    shown = configuration.table(run)
    for name in set(of_the_server) & set(shown.index):
        assert shown.loc[name].tolist() == ["", NOT_KNOWN]
    listed = parameters_table(params)
    assert listed.loc["enable_prefix_caching", "value"] == NOT_KNOWN
    assert provenance.table(run).loc["weights of the server", "value"] == NOT_KNOWN


def test_what_a_user_gives_is_refused_where_it_differs_from_its_default_and_only_there():
    given = {"engine": "openai", "base_url": "http://h:1"}
    RunParams.from_dict(given | {"enable_prefix_caching": False, "dtype": "auto"})
    with pytest.raises(ParameterError, match=r"enable_prefix_caching.*belongs to the server"):
        RunParams.from_dict(given | {"enable_prefix_caching": True})
