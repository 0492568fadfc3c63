"""The child process that hosts engine and LoadGen, and serves one test after another.

Started by ``session.py`` as ``python -m vllm_loadgen.harness.worker FD``; FD is its end of a pipe
on which commands come in and events go out (``messages.py``). Whatever vLLM prints goes to the log
file that is this process's stdout. The process ends, with all that it started, when told to, when
the pipe closes (its parent is gone) or when a test cannot go on: LoadGen has no way to abort.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import chain, cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.engines.echo import EchoEngine
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.facts.results import Result
from vllm_loadgen.files import write_frame
from vllm_loadgen.harness import loadgen
from vllm_loadgen.harness.log import read_log
from vllm_loadgen.harness.messages import (
    Abort,
    Command,
    Ended,
    Event,
    Progress,
    Ready,
    Refused,
    RunTest,
    Start,
    Stop,
)
from vllm_loadgen.harness.records import Recorder
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.harness.telemetry import Telemetry, steps_frame
from vllm_loadgen.params import RunParams

T = TypeVar("T")
PROGRESS_INTERVAL_S = 0.5


class Worker:
    """Holds the engine and its loop, and carries out one command after another."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._engine: Engine | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="engine", daemon=True).start()

    def serve(self) -> None:
        """Answer commands until told to stop or the parent is gone."""
        while not isinstance(command := self._pipe.recv(), Stop):
            try:
                answer = self._carry_out(command)
            except BenchmarkError as error:
                answer = Refused(str(error))
            except Exception as error:
                traceback.print_exc()
                answer = Refused(f"{type(error).__name__}: {error}")
            self._pipe.send(answer)
            if isinstance(answer, Ended) and answer.status != "complete":
                return  # LoadGen still waits in its thread; only the end of the process ends it

    def _carry_out(self, command: Command) -> Event:
        if isinstance(command, Start):
            self._engine = make_engine(command.params, command.model_path)
            limit_s = command.params.load_timeout_s
            return Ready(self._on_loop(self._engine.start(), "the engine's start", limit_s))
        if isinstance(command, RunTest) and self._engine is not None:
            return self._run(command, self._engine)
        raise BenchmarkError(f"The engine's process was told {command} out of turn.")

    def _run(self, command: RunTest, engine: Engine) -> Ended:
        """One LoadGen test; its logs, records and result.json are in its folder afterwards."""
        params, prompts, folder = command.params, command.prompts, command.folder
        conf = loadgen.user_conf(params, len(prompts), command.mode)
        settings = loadgen.make_settings(params, command.mode, conf, folder / "user.conf")
        warmup_s = self._warm_up(engine, prompts, params)
        sut = Sut(engine, prompts, self._loop, params.concurrency, params.longest_first)
        # What a callback raises would be logged and forgotten, and its query waited for for ever.
        self._loop.set_exception_handler(partial(_note_failure, sut))
        test = LoadgenTest(sut, len(prompts), settings, folder, command.audit_config)
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        engine.steps()  # those of the warm-up are nobody's
        with Telemetry(params.tensor_parallel_size) as telemetry:
            ended = test.run(self._pipe, params.stall_timeout_s)
        result = Result(
            mode=command.mode,
            status=ended.status,
            scenario=params.scenario,
            benchmark=params.benchmark,
            started_at=started_at,
            duration_s=round(test.duration_s, 6),
            queries=len(sut.records),
            warmup_queries=params.warmup_queries,
            warmup_s=round(warmup_s, 3),
        )
        start_ns = _write(result, sut.records, params, settings.schedule_rng_seed, folder)
        write_frame(folder / "telemetry.parquet", telemetry.frame(start_ns))
        write_frame(folder / "engine_steps.parquet", steps_frame(engine.steps(), start_ns))
        return ended

    def _warm_up(self, engine: Engine, prompts: list[list[int]], params: RunParams) -> float:
        """Answer ``warmup_queries``, longest and shortest prompts first; returns seconds."""
        by_length = sorted(prompts, key=len)
        ends = chain.from_iterable(zip(reversed(by_length), by_length, strict=True))
        chosen = list(islice(cycle(ends), params.warmup_queries))
        begin = time.monotonic()
        if chosen:
            self._on_loop(answer_all(engine, chosen), "the warm-up", params.stall_timeout_s)
        return time.monotonic() - begin

    def close(self) -> None:
        """Stop the engine; never hangs."""
        if self._engine is not None:
            try:
                asyncio.run_coroutine_threadsafe(self._engine.stop(), self._loop).result(10)
            except Exception:
                traceback.print_exc()

    def _on_loop(self, coroutine: Coroutine[Any, Any, T], what: str, limit_s: float) -> T:
        """Run on the engine's loop to its end, and look now and then whether to go on.

        Raises:
            BenchmarkError: if it takes too long.
            EOFError: if the parent is gone, or gives up.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        begin = time.monotonic()
        while True:
            with suppress(TimeoutError):
                return future.result(PROGRESS_INTERVAL_S)
            if self._pipe.poll() and isinstance(self._pipe.recv(), Abort | Stop):
                raise EOFError
            if time.monotonic() - begin > limit_s:
                raise BenchmarkError(f"{what} did not end within {limit_s:.0f} s")


def _note_failure(sut: Sut, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler during a test."""
    loop.default_exception_handler(context)
    sut.failed(-1, context.get("exception") or RuntimeError(context["message"]))


def _write(result: Result, records: Recorder, params: RunParams, seed: int, folder: Path) -> int:
    """Records and result.json; returns the run's start by ``time.monotonic_ns``."""
    if result.complete:
        result = result.with_log(read_log(folder))
    due = loadgen.schedule_ns(params, seed, np.array(records.issued_ns))
    write_frame(folder / "records.parquet", records.frame(due))
    result.write(folder / "result.json")
    return records.start_ns(due)


class LoadgenTest:
    """One LoadGen test in a thread, watched from the worker's main thread."""

    def __init__(
        self, sut: Sut, samples: int, settings: Any, folder: Path, audit_config: Path | None
    ) -> None:
        self.duration_s = 0.0
        self._sut = sut
        self._error: BaseException | None = None
        self._args = (sut, samples, settings, folder, audit_config)

    def _start_test(self) -> None:
        try:
            loadgen.run_test(*self._args)
        except BaseException as error:
            self._error = error

    def run(self, pipe: Connection, stall_s: float) -> Ended:
        """Run to the end, and report progress."""
        thread = threading.Thread(target=self._start_test, name="loadgen", daemon=True)
        with no_garbage_collection():
            begin = time.monotonic()
            thread.start()
            try:
                ended = self._watch(thread, pipe, stall_s)
            finally:
                self.duration_s = time.monotonic() - begin
        if self._error is not None:
            raise self._error
        return ended

    def _watch(self, thread: threading.Thread, pipe: Connection, stall_s: float) -> Ended:
        sut = self._sut
        moved_at, last = time.monotonic(), -1
        while True:
            thread.join(PROGRESS_INTERVAL_S)
            now = sut.first_count + sut.done_count
            if now != last or len(sut.records) == sut.done_count:
                moved_at, last = time.monotonic(), now
            pipe.send(
                Progress(
                    len(sut.records), sut.done_count, sut.token_count, *sut.records.recent_ms()
                )
            )
            if not thread.is_alive():
                return Ended("complete")
            if sut.failure is not None:
                return Ended("failed", f"the engine died: {describe(sut.failure)}")
            if time.monotonic() - moved_at > stall_s:
                return Ended("failed", f"the engine gave no answer for {stall_s:.0f} s")
            if pipe.poll() and isinstance(pipe.recv(), Abort):
                return Ended("interrupted", "interrupted")


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Nothing pauses the body, and objects made before it are not looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def describe(error: BaseException) -> str:
    """An exception as one line; the message alone may be empty."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def make_engine(params: RunParams, model_path: str) -> Engine:
    """The engine that the parameters name."""
    if params.engine == "echo":
        return EchoEngine(params.max_new_tokens, **params.engine_options)
    from vllm_loadgen.engines.vllm import VllmEngine

    return VllmEngine(params, model_path)


async def answer_all(engine: Engine, prompts: Sequence[Sequence[int]]) -> None:
    """Let the engine answer ``prompts`` at once and wait for all of them."""
    loop = asyncio.get_running_loop()
    answered: list[asyncio.Future[None]] = [loop.create_future() for _ in prompts]
    sink = _WarmUp(answered)
    for row, prompt in enumerate(prompts):
        engine.submit(row, prompt, sink)
    await asyncio.gather(*answered)


class _WarmUp:
    """A sink that only notes that answers came."""

    def __init__(self, answered: list[asyncio.Future[None]]) -> None:
        self._answered = answered

    def first(self, row: int, token: int, started_ns: int | None) -> None:
        pass

    def done(self, row: int, rest: Sequence[int]) -> None:
        self._answered[row].set_result(None)

    def failed(self, row: int, error: BaseException) -> None:
        self._answered[row].set_exception(error)


def main() -> None:
    """Serve on the pipe whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    worker = Worker(Connection(int(sys.argv[1])))
    try:
        worker.serve()
    except (EOFError, OSError):
        pass  # the parent is gone: nobody is left to answer
    finally:
        worker.close()
        sys.stdout.flush()
        # Our session holds this process and what vLLM started; LoadGen's thread may still wait.
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
