"""vLLM as LoadGen's system under test: token ids and a checkpoint in, a test's folder out.

``Session`` keeps an engine loaded in a process of its own and runs tests, each by ``TestParams``.
Models by name, data, searches and reports are in ``loadgen_study``.
"""

from vllm_loadgen.errors import BenchmarkError, EngineError, ParameterError
from vllm_loadgen.harness.session import Session
from vllm_loadgen.params import TestParams

__version__ = "0.2.0"
__all__ = ["BenchmarkError", "EngineError", "ParameterError", "Session", "TestParams"]
MOVED = ("LiveRun", "Run", "RunParams", "Test")


def __getattr__(name: str) -> object:
    if name in MOVED:
        raise ImportError(f"{name} has moved: from loadgen_study import {name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
