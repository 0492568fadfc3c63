"""The table of benchmarks against LoadGen's own settings, and as the one place that names them."""

import re

import pytest
from helpers import ROOT

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.params import RunParams
from vllm_loadgen.harness import loadgen
from vllm_loadgen.params import SCENARIOS

CASES = [(name, scenario) for name, b in BENCHMARKS.items() for scenario in b.scenarios]


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_the_samples_are_loadgens(name, scenario):
    params = RunParams(benchmark=name, scenario=scenario)
    official = loadgen.official_settings(params)
    assert BENCHMARKS[name].samples == official.performance_sample_count_override
    scored = BENCHMARKS[name].accuracy_samples or BENCHMARKS[name].samples
    assert scored == BENCHMARKS[name].score["gen_num"]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_a_record_agrees_with_itself(benchmark):
    assert set(benchmark.scenarios) <= set(SCENARIOS)
    assert set(benchmark.scenarios.values()) <= benchmark.suite.scenarios


def test_no_other_module_names_a_benchmark():
    """All but the default value of the parameter, and of files made before there was a field."""
    allowed = {"vllm_loadgen/params.py", "vllm_loadgen/records/result.py"}
    package = ROOT / "src"
    names = re.compile("|".join(map(re.escape, BENCHMARKS)))
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.parent.name not in ("benchmarks", "scorers") and names.search(path.read_text())
    }
    assert found <= allowed
