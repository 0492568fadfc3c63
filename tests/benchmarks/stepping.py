"""The harness on an engine that steps like a whole node of GPUs, and what it adds to that engine.

Run as a process of its own for each measurement (``python stepping.py KIND QUERIES RATE``); the
last line printed is JSON. KIND: "loadgen" asks the engine through LoadGen and the SUT, "alone"
hands it the same queries at the same times from its own loop, and keeps nothing.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rig import Rig

from loadgen_study.analysis.metrics import latencies
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.params import RunParams
from vllm_loadgen.engines.base import Engine, Sink
from vllm_loadgen.harness import loadgen
from vllm_loadgen.records.engine import EngineFacts

# The official data's prompts and answers; steps as long as those of a busy H100.
SAMPLES, PROMPT, ANSWER, STEP_S = 1000, 760, 128, 0.02


class SteppingEngine(Engine):
    """One batch, one token a step for each query in it; a step's answers come all at once.

    As vLLM is asked to here, it tells of a query twice: its first token, and the rest.
    """

    async def start(self) -> EngineFacts:
        self._loop = asyncio.get_running_loop()
        self._joined: list[tuple[int, Sink, int]] = []
        self._ends: dict[int, list[tuple[int, Sink]]] = defaultdict(list)
        self._rest = [7] * (ANSWER - 1)
        self._step, self._next_s = 0, self._loop.time() + STEP_S
        self._timer = self._loop.call_at(self._next_s, self._stepped)
        return EngineFacts(engine="stepping")

    def submit(
        self, row: int, prompt: Sequence[int], sink: Sink, most_tokens: int | None = None
    ) -> None:
        self._joined.append((row, sink, time.monotonic_ns()))

    def _stepped(self) -> None:
        joined, self._joined = self._joined, []
        for row, sink, started_ns in joined:
            sink.first(row, 7, started_ns)
            self._ends[self._step + ANSWER - 1].append((row, sink))
        for row, sink in self._ends.pop(self._step, ()):
            sink.done(row, self._rest)
        self._step, self._next_s = self._step + 1, self._next_s + STEP_S
        self._timer = self._loop.call_at(self._next_s, self._stepped)

    async def stop(self) -> None:
        self._timer.cancel()


class Counting:
    """A sink that counts the answers and keeps nothing."""

    def __init__(self, queries: int) -> None:
        self.left, self.all = queries, asyncio.Event()

    def first(self, row: int, token: int, started_ns: int | None) -> None:
        """Nothing is noted."""

    def done(self, row: int, rest: Sequence[int]) -> None:
        """One answer less to wait for."""
        self.left -= 1
        if not self.left:
            self.all.set()


def measure(kind: str, queries: int, rate: float) -> dict[str, Any]:
    """One test.

    Returns:
        queries and cpu_us (CPU time a query, from the first due time to the last answer); through
        LoadGen delay_p99_ms (of the harness's issue behind the schedule) and delivered (the time
        that the schedule spans over the time that the queries were issued in).
    """
    params = RunParams(
        engine="echo", target_qps=rate, min_query_count=queries, min_duration_ms=1,
        max_new_tokens=ANSWER,
    )  # fmt: skip
    prompts = [list(range(PROMPT))] * SAMPLES
    with Rig(SteppingEngine(), prompts) as rig, tempfile.TemporaryDirectory() as folder:
        begin_s = time.process_time()
        found = (_loadgen(rig, params, Path(folder)) if kind == "loadgen"
                 else rig.wait(_alone(rig, params)))  # fmt: skip
        spent_s = time.process_time() - begin_s
    return found | {"cpu_us": spent_s / found["queries"] * 1e6}


def _loadgen(rig: Rig, params: RunParams, folder: Path) -> dict[str, Any]:
    frame = latencies(rig.loadgen(params, folder))
    due_s, issued_s = (np.ptp(frame[name]) for name in ("scheduled_s", "issued_s"))
    return {
        "queries": len(frame),
        "delay_p99_ms": percentile(frame["schedule_delay_ms"], 0.99),
        "delivered": float(due_s / issued_s),
    }


async def _alone(rig: Rig, params: RunParams) -> dict[str, Any]:
    queries = -(-params.min_query_count // SAMPLES) * SAMPLES
    seed = loadgen.official_settings(params).schedule_rng_seed
    due_s = loadgen.server_schedule_ns(seed, params.rate, queries) / 1e9
    sink, loop = Counting(queries), asyncio.get_running_loop()
    start_s = loop.time()
    for row, at_s in enumerate(due_s):
        if (wait_s := start_s + at_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        rig.engine.submit(row, rig.prompts[row % SAMPLES], sink)
    await sink.all.wait()
    return {"queries": queries}


if __name__ == "__main__":
    kind, queries, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(measure(kind, queries, rate), default=np.generic.item))
