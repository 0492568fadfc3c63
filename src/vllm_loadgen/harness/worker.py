"""The child process that hosts engine and LoadGen, and serves one test after another.

Started by ``session.py`` as ``python -m vllm_loadgen.harness.worker FD``; FD is its end of a pipe
on which commands come in and events go out, both plain dicts. Whatever vLLM prints goes to the log
file that is this process's stdout. The process ends, with all that it started, when told to, when
the pipe closes (its parent is gone) or when a test cannot go on: LoadGen has no way to abort.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.engines.echo import EchoEngine
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness import loadgen
from vllm_loadgen.harness.records import write_frame
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.harness.telemetry import Telemetry, steps_frame
from vllm_loadgen.params import RunParams

PROGRESS_INTERVAL_S = 0.5
# With queries in flight and no answer for so long, the engine is taken for dead.
STALL_S = 600.0


class Worker:
    """Holds the engine and its loop; each command is a method."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._engine: Engine | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="engine", daemon=True).start()

    def serve(self) -> None:
        """Answer commands until told to stop or the parent is gone."""
        while True:
            command = self._pipe.recv()
            if command["command"] == "stop":
                return
            try:
                answer = getattr(self, command.pop("command"))(**command)
            except BenchmarkError as error:
                answer = {"event": "error", "message": str(error)}
            except Exception as error:
                traceback.print_exc()
                answer = {"event": "error", "message": f"{type(error).__name__}: {error}"}
            self._pipe.send(answer)
            if answer.get("fatal"):
                return

    def start(self, params: dict[str, Any], model_path: str) -> dict[str, Any]:
        """Load the model."""
        self._engine = make_engine(RunParams.from_dict(params), model_path)
        return {"event": "ready", "engine": self._on_loop(self._engine.start())}

    def run(
        self,
        params: dict[str, Any],
        prompts: list[list[int]],
        mode: str,
        folder: str,
        audit_config: str | None = None,
    ) -> dict[str, Any]:
        """One LoadGen test; its logs, records and result.json are in ``folder`` afterwards."""
        run_params = RunParams.from_dict(params)
        target = Path(folder)
        conf = loadgen.user_conf(run_params, len(prompts))
        settings = loadgen.make_settings(run_params, mode, conf, target / "user.conf")
        warmup_s = self._warm_up(prompts, run_params.warmup_queries)
        sut = Sut(
            self._engine, prompts, self._loop, run_params.concurrency, run_params.longest_first
        )
        test = Test(sut, len(prompts), settings, target, audit_config)
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._engine.steps()  # those of the warm-up are nobody's
        with Telemetry() as telemetry:
            status, message = test.run(self._pipe)
        result = {
            "mode": mode,
            "status": status,
            "scenario": run_params.scenario,
            "benchmark": run_params.benchmark,
            "started_at": started_at,
            "duration_s": round(test.duration_s, 6),
            "queries": len(test.sut.records),
            "warmup_queries": run_params.warmup_queries,
            "warmup_s": round(warmup_s, 3),
        }
        start_ns = self._write(result, test, run_params, settings, target)
        write_frame(telemetry.frame(start_ns), target / "telemetry.parquet")
        write_frame(steps_frame(self._engine.steps(), start_ns), target / "engine_steps.parquet")
        if status == "complete":
            return {"event": "result"}
        # LoadGen still waits in its thread; only the end of the process ends it.
        return {"event": status, "message": message, "fatal": True}

    def _write(
        self, result: dict[str, Any], test: "Test", params: RunParams, settings: Any, folder: Path
    ) -> int:
        """Records and result.json; returns the run's start by ``time.monotonic_ns``."""
        records = test.sut.records
        if result["status"] == "complete":
            result |= loadgen.read_log(folder)
            result["effective_settings"] |= {
                name: getattr(settings, name)
                for name in ("ttft_latency", "tpot_latency", "use_token_latencies")
            }
        seed = settings.schedule_rng_seed
        due = loadgen.schedule_ns(params, seed, np.array(records.issued_ns))
        write_frame(records.frame(due), folder / "records.parquet")
        (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        return records.start_ns(due)

    def _warm_up(self, prompts: list[list[int]], count: int) -> float:
        """Answer ``count`` queries, longest and shortest prompts first; returns seconds."""
        by_length = sorted(prompts, key=len)
        chosen = [by_length[-1 - i // 2] if i % 2 == 0 else by_length[i // 2] for i in range(count)]
        begin = time.monotonic()
        if chosen:
            self._on_loop(answer_all(self._engine, chosen))
        return time.monotonic() - begin

    def close(self) -> None:
        """Stop the engine; never hangs."""
        if self._engine is not None:
            try:
                asyncio.run_coroutine_threadsafe(self._engine.stop(), self._loop).result(10)
            except Exception:
                traceback.print_exc()

    def _on_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class Test:
    """One LoadGen test in a thread, watched from the worker's main thread."""

    def __init__(
        self, sut: Sut, samples: int, settings: Any, folder: Path, audit_config: str | None
    ) -> None:
        self.sut = sut
        self.duration_s = 0.0
        self._error: BaseException | None = None
        audit = Path(audit_config) if audit_config else None
        self._args = (sut, samples, settings, folder, audit)

    def _start_test(self) -> None:
        try:
            loadgen.run_test(*self._args)
        except BaseException as error:
            self._error = error

    def run(self, pipe: Connection) -> tuple[str, str]:
        """Run and report progress; returns (status, message)."""
        thread = threading.Thread(target=self._start_test, name="loadgen", daemon=True)
        with no_garbage_collection():
            begin = time.monotonic()
            thread.start()
            try:
                outcome = self._watch(thread, pipe)
            finally:
                self.duration_s = time.monotonic() - begin
        if self._error is not None:
            raise self._error
        return outcome

    def _watch(self, thread: threading.Thread, pipe: Connection) -> tuple[str, str]:
        moved_at, last = time.monotonic(), -1
        while True:
            thread.join(PROGRESS_INTERVAL_S)
            sut = self.sut
            now = sut.first_count + sut.done_count
            if now != last or len(sut.records) == sut.done_count:
                moved_at, last = time.monotonic(), now
            pipe.send(
                {
                    "event": "progress",
                    "issued": len(sut.records),
                    "done": sut.done_count,
                    "tokens": sut.token_count,
                    **sut.records.recent_ms(),
                }
            )
            if not thread.is_alive():
                return "complete", ""
            if sut.failure is not None:
                return "failed", f"the engine died: {describe(sut.failure)}"
            if time.monotonic() - moved_at > STALL_S:
                return "failed", f"the engine gave no answer for {STALL_S:.0f} s"
            if pipe.poll() and pipe.recv()["command"] == "abort":
                return "interrupted", "interrupted"


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


async def answer_all(engine: Engine, prompts: list[list[int]]) -> None:
    """Let the engine answer ``prompts`` at once and wait for all of them."""
    loop = asyncio.get_running_loop()
    answered = [loop.create_future() for _ in prompts]
    sink = _WarmUp(answered)
    for row, prompt in enumerate(prompts):
        engine.submit(row, prompt, sink)
    await asyncio.gather(*answered)


class _WarmUp:
    """A sink that only notes that answers came."""

    def __init__(self, answered: list[asyncio.Future]) -> None:
        self._answered = answered

    def first(self, row: int, token: int, started_ns: int | None) -> None:
        pass

    def done(self, row: int, rest: Any) -> None:
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
