import pytest
from helpers import MODEL, RESULT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.facts.inputs import MachineLimits, Model
from loadgen_study.report.report import Report


@pytest.fixture
def limits(tmp_path):
    """The report's section on limits, of a run of MODEL with these facts changed."""

    def made(**changes):
        rows = [(i, i, i, i + 0.1, i + 1.1, 50, 11) for i in range(20)]
        folder = write_facts(tmp_path / "run", RunParams())
        write_test(folder / "performance", RESULT, make_records(rows))
        rates = {"bfloat16": 1.0}
        machine = MachineLimits(device="cuda", memory_bandwidth_gb_s=900.0, matrix_tflop_s=rates)
        machine.write(folder / "machine.json")
        Model(**MODEL | changes).write(folder / "model.json")
        return Report(Run.open(folder)).limits().parts

    return made


def test_no_limit_is_claimed_where_the_rate_was_not_measured(limits):
    parts = limits(quantization="fp8", multiplied_in="fp8")
    assert len(parts) == 1
    assert parts[0].startswith("No roofline: ")
    assert "1 TFLOP/s in bfloat16" in limits(quantization="awq")[0]


def test_how_the_experts_of_a_mixture_are_counted_is_said(limits):
    experts = {"count": 8, "per_token": 2, "parameters": 80_000_000, "loaded_bytes": 160_000_000}
    words = "assume uniform routing"
    assert words in limits(experts=experts)[0]
    assert words not in limits()[0]
