"""Studies of LLMs under MLPerf's LoadGen: models, data, runs, scores, reports.

``LiveRun`` measures, ``Run`` reads what was measured; both take a ``RunParams``. The tests
themselves are made by ``vllm_loadgen``.
"""

from loadgen_study.params import RunParams
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.live import LiveRun
from vllm_loadgen.errors import BenchmarkError, EngineError, ParameterError

__all__ = [
    "BenchmarkError",
    "EngineError",
    "LiveRun",
    "ParameterError",
    "Run",
    "RunParams",
    "Test",
]
