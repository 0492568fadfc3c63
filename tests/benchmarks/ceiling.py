"""The harness's own ceiling: how much LoadGen and the SUT can do where the engine does nothing.

Run as a process of its own for each measurement (``python ceiling.py KIND QUERIES RATE``), so
that memory and CPU time are of that one alone; the last line printed is JSON.

KIND: "Server" and "Offline" drive the SUT with an echo engine, "journal" is Server with the records
noted on the disk meanwhile, as in a run; "empty" is LoadGen's Python binding with a callback that
answers at once and does nothing else, the limit of any SUT in Python.
"""

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg
import numpy as np
import psutil
from rig import Rig

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.params import RunParams
from vllm_loadgen.engines.echo import EchoEngine
from vllm_loadgen.harness import loadgen
from vllm_loadgen.harness.log import read_log
from vllm_loadgen.harness.watch import no_garbage_collection

SAMPLES = 1000
PROMPTS = [list(range(16))] * SAMPLES
TOKENS = 2


class Empty:
    """Answers every query within the callback that brings it."""

    def issue(self, ids: list[int], indices: list[int]) -> None:
        """Complete all at once."""
        lg.QuerySamplesComplete([lg.QuerySampleResponse(id_, 0, 0, TOKENS) for id_ in ids])

    def flush(self) -> None:
        """Nothing is held back."""


def settings_of(scenario: str, queries: int, rate: float) -> RunParams:
    """A test of so many queries at that rate, with no more than that."""
    return RunParams(
        engine="echo", scenario=scenario, target_qps=rate, min_query_count=queries,
        min_duration_ms=1, max_new_tokens=TOKENS,
    )  # fmt: skip


def measure(kind: str, queries: int, rate: float) -> dict[str, Any]:
    """One test.

    Returns:
        queries, samples_per_s, p99_ms (latency from the due time), cpu_us (CPU time a query) and
        bytes (memory that the process grew by, a query).
    """
    scenario = "Offline" if kind == "Offline" else "Server"
    params = settings_of(scenario, queries, rate)
    with tempfile.TemporaryDirectory() as folder:
        run = _empty if kind == "empty" else partial(_echo, kind == "journal")
        memory, cpu_s = psutil.Process().memory_info().rss, time.process_time()
        p99_ms, count, per_s = run(params, Path(folder))
        cpu_s = time.process_time() - cpu_s
        grown = psutil.Process().memory_info().rss - memory
    return {
        "queries": count,
        "samples_per_s": per_s,
        "p99_ms": p99_ms,
        "cpu_us": cpu_s / count * 1e6,
        "bytes": grown / count,
    }


def _echo(journal: bool, params: RunParams, folder: Path) -> tuple[float, int, float]:
    with Rig(EchoEngine(TOKENS), PROMPTS) as rig:
        records = rig.loadgen(params, folder, journal)
        frame = latencies(records)
        m = metrics(frame, params.scenario)
        return percentile(frame["latency_ms"], 0.99), len(records), m.samples_per_s


def _empty(params: RunParams, folder: Path) -> tuple[float, int, float]:
    conf = loadgen.user_conf(params, SAMPLES)
    settings = loadgen.make_settings(params, "performance", conf, folder / "user.conf")
    settings.use_token_latencies = False  # there are no tokens to time
    begin = time.monotonic()
    with no_garbage_collection():
        loadgen.run_test(Empty(), SAMPLES, settings, folder)
    log = read_log(folder).loadgen_results
    count = -(-params.min_query_count // SAMPLES) * SAMPLES
    per_s = log.number("completed_samples_per_sec") or count / (time.monotonic() - begin)
    return (log.number("99.00_percentile_latency_ns") or 0.0) / 1e6, count, per_s


if __name__ == "__main__":
    kind, queries, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(measure(kind, queries, rate), default=np.generic.item))
