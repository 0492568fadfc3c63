"""The compliance tests of MLCommons' LLM benchmarks, and which of them a run makes."""

from collections.abc import Callable, Mapping

from loadgen_study.benchmarks.record import Benchmark
from loadgen_study.rules import test06, test07, test09
from loadgen_study.rules.audit import ComplianceTest
from vllm_loadgen.errors import ParameterError

# By name, from the limits in a benchmark's record.
MAKERS: Mapping[str, Callable[..., ComplianceTest]] = {
    "TEST06": lambda: test06.TEST06,
    "TEST07": test07.compliance_test,
    "TEST09": test09.compliance_test,
}


def required(benchmark: Benchmark) -> tuple[ComplianceTest, ...]:
    """The tests that a benchmark requires; TEST06 where it requires none."""
    made = tuple(MAKERS[name](**limits) for name, limits in benchmark.compliance.items())
    return made or (test06.TEST06,)


def of_folder(benchmark: Benchmark, folder: str) -> ComplianceTest:
    """The test of a benchmark that lies in this folder of a run.

    Raises:
        ParameterError: if none does.
    """
    known = {test.folder: test for test in required(benchmark)}
    if folder not in known:
        cure = f"give one of {', '.join(known)}"
        problem = f"is not the folder of a compliance test of {benchmark.name}"
        raise ParameterError("name", folder, problem, cure)
    return known[folder]
