"""An engine, its loop and LoadGen in one process, so that it can be driven without LoadGen too."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.facts.tables import records_frame
from loadgen_study.params import RunParams
from vllm_loadgen.engines.base import Engine
from vllm_loadgen.harness import loadgen
from vllm_loadgen.harness.journal import INTERVAL_S, Journal
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.harness.warmup import PendingRound, Round, pick_prompts, warm_up
from vllm_loadgen.harness.watch import no_garbage_collection

# A benchmark has the time to wait for the same speed twice.
WARM_S = 600.0


def warmed(ask: Callable[[int], Round], batch: int) -> bool:
    """Whether rounds of the batch, answered in full, became equally fast (see ``warm_up``)."""
    return bool(warm_up(ask, lambda _: batch, min(4, batch), WARM_S).steady)


class Rig:
    """A started engine; use it as a context manager.

    Args:
        warm: bring it to the speed at which all prompts at once are answered equally fast twice.

    Attributes:
        warm: whether it came to that.
    """

    def __init__(
        self, engine: Engine, prompts: Sequence[Sequence[int]], warm: bool = False
    ) -> None:
        self.engine, self.prompts = engine, prompts
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.wait(engine.start())
        self.warm = warm and warmed(self._ask, len(prompts))
        if not warm:
            self._ask(4)

    def _ask(self, queries: int) -> Round:
        return self.wait(PendingRound(pick_prompts(self.prompts, queries)).answered(self.engine))

    def wait(self, coroutine: Any) -> Any:
        """Run a coroutine on the engine's loop to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def loadgen(
        self, params: RunParams, folder: Path, journal: bool = False, **sut_options: Any
    ) -> pd.DataFrame:
        """One LoadGen test as the package makes it; its records.

        Args:
            journal: note them on the disk meanwhile, as a run does.
        """
        folder.mkdir(parents=True, exist_ok=True)
        conf = loadgen.user_conf(params, len(self.prompts))
        settings = loadgen.make_settings(params, "performance", conf, folder / "user.conf")
        sut = Sut(self.engine, self.prompts, self._loop, **sut_options)
        seed = settings.schedule_rng_seed
        due_ns = partial(loadgen.planned_ns, params, seed)
        with no_garbage_collection(), noted(folder, sut, due_ns) if journal else nullcontext():
            loadgen.run_test(sut, len(self.prompts), settings, folder)
        issued = np.array(sut.records.issued_ns)
        return records_frame(sut.records.table(loadgen.schedule_ns(params, seed, issued)))

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self.engine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def noted(folder: Path, sut: Sut, due_ns: Any) -> Iterator[None]:
    """Whatever the SUT records reaches the disk as it does under the harness's watch."""
    ended = threading.Event()
    with Journal(folder, sut, due_ns) as journal:

        def note() -> None:
            while not ended.wait(INTERVAL_S):
                journal.note()

        thread = threading.Thread(target=note)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        journal.note()


async def open_loop(
    generate: Any, prompts: Sequence[Sequence[int]], order: Sequence[int], due_s: Sequence[float]
) -> dict[str, float]:
    """A Poisson client without LoadGen: each query at its time, whatever the others do.

    Args:
        generate: (prompt, id) to an async iterator of vLLM's outputs.
        order: sample of each query. due_s: when each is due, from the start.

    Returns:
        means of ttft_ms and tpot_ms, by LoadGen's definitions.
    """
    start = time.monotonic() + 0.1
    times: list[tuple[float, float]] = []

    async def one(number: int) -> None:
        due = start + due_s[number]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        first, tokens = 0.0, 0
        async for output in generate(prompts[order[number]], f"open-{number}"):
            first = first or time.monotonic()
            tokens += len(output.outputs[0].token_ids)
        times.append((first - due, (time.monotonic() - first) / max(tokens - 1, 1)))

    await asyncio.gather(*(one(number) for number in range(len(order))))
    ttft_s, tpot_s = np.mean(times, axis=0)
    return {"ttft_ms": float(ttft_s * 1e3), "tpot_ms": float(tpot_s * 1e3)}


def means(records: pd.DataFrame, scenario: str) -> dict[str, float]:
    """The figures of a LoadGen test that the benchmark compares."""
    m = metrics(latencies(records), scenario)
    return {
        "samples_per_s": m.samples_per_s,
        "tokens_per_s": m.tokens_per_s,
        "ttft_ms": m.ttft_ms.mean,
        "tpot_ms": m.tpot_ms.mean,
    }


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held, since its start or ``forget_peak``."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kib) * 1024


def forget_peak(pid: int) -> None:
    """``peak_bytes`` begins anew with what the process holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
