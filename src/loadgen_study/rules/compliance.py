"""The compliance tests of MLCommons' LLM benchmarks, and which of them a run makes."""

from loadgen_study.benchmarks.record import Benchmark
from loadgen_study.rules import test06, test07, test09
from loadgen_study.rules.audit import ComplianceTest
from vllm_loadgen.errors import ParameterError

TESTS = {test.name: test for test in (test06.TEST06, test07.TEST07, test09.TEST09)}


def required(benchmark: Benchmark) -> tuple[ComplianceTest, ...]:
    """The tests that a benchmark requires; TEST06 where it requires none."""
    return tuple(TESTS[name] for name in benchmark.compliance) or (test06.TEST06,)


def of_folder(folder: str) -> ComplianceTest:
    """The test that lies in this folder of a run.

    Raises:
        ParameterError: if none does.
    """
    known = {test.folder: test for test in TESTS.values()}
    if folder not in known:
        cure = f"give one of {', '.join(known)}"
        raise ParameterError("name", folder, "is not the folder of a compliance test", cure)
    return known[folder]
