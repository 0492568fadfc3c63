"""MLPerf Inference for LLMs in notebooks: vLLM as LoadGen's system under test.

``LiveRun`` measures, ``Run`` reads what was measured; both take a ``RunParams``.
"""

from vllm_loadgen.errors import BenchmarkError, EngineError, ParameterError
from vllm_loadgen.params import RunParams
from vllm_loadgen.results.run import Run
from vllm_loadgen.results.test import Test
from vllm_loadgen.runs.live import LiveRun

__version__ = "0.1.0"
__all__ = [
    "BenchmarkError",
    "EngineError",
    "LiveRun",
    "ParameterError",
    "Run",
    "RunParams",
    "Test",
    "explore",
]


def __getattr__(name: str) -> object:
    """``explore`` brings figures and widgets along, which measuring does without."""
    if name == "explore":
        from vllm_loadgen.report.workbench import explore

        return explore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
