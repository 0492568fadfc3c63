"""The child process that hosts engine and LoadGen, and serves one test after another.

Started by ``engine_process.py``, with the file descriptor of its end of a pipe on which commands
come in and events go out (``messages.py``). Whatever vLLM prints goes to the log file that is this
process's stdout. The process ends, with all that it started, at ``Stop``, when the pipe closes
(nobody uses it any more) or when a test cannot go on: LoadGen has no way to abort.
"""

import asyncio
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_table
from vllm_loadgen.harness import loadgen
from vllm_loadgen.harness.engine_log import late_compilations, position
from vllm_loadgen.harness.engine_process import end_session
from vllm_loadgen.harness.journal import Journal
from vllm_loadgen.harness.log import read_log
from vllm_loadgen.harness.messages import (
    Ended,
    Event,
    Prepare,
    Prepared,
    Progress,
    Ready,
    Refused,
    RunTest,
    Scored,
    ScoreTokens,
    Start,
    Stop,
)
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.harness.telemetry import INTERVAL_S, Telemetry, steps_table
from vllm_loadgen.harness.warmup import (
    LONGEST_ANSWER,
    PendingRound,
    Round,
    answer_cap,
    expected_batch,
    pick_prompts,
    reordered,
    warm_up,
)
from vllm_loadgen.harness.watch import Watch
from vllm_loadgen.http.metrics import ServerWatch
from vllm_loadgen.http.redfish import Controller, Redfish
from vllm_loadgen.records.columns import JOURNAL, schedule_start_ns
from vllm_loadgen.records.engine import EngineFacts, TokenScores
from vllm_loadgen.records.result import Result, WarmUp

STOP_S, LOADING_STOP_S = 10.0, 2.0
T = TypeVar("T")
LOOK_S = 0.5
OBSERVE_S = 2.0
MOST_REASONS = 3
SCORED_AT_ONCE = 4  # answers of the first batch: a few show how long more would take


class Worker:
    """Holds the engine and its loop, and carries out one command after another."""

    _engine: Engine  # from Start on
    _facts: EngineFacts  # from its answer on

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._log = Path(os.devnull)
        self._controller: Controller | None = None
        self._warm_to = 0  # queries at once
        self._rounds = 0  # of warm-up, in all tests
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def serve(self) -> None:
        """Answer commands until one is ``Stop`` or the pipe closes."""
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

    def _carry_out(self, command: Prepare | Start | RunTest | ScoreTokens) -> Event:
        match command:
            case Prepare():
                with suppress(Exception):  # the engine's start reports what is missing
                    import_module(command.module)
                return Prepared()
            case Start():
                return self._start(command)
            case RunTest():
                return self._run(command)
            case ScoreTokens():
                return self._score(command)

    def _start(self, command: Start) -> Ready:
        traits = command.params.engine_traits
        self._longest = command.params.max_new_tokens
        self._controller, self._log = command.controller, command.log
        self._engine = resolve_name(traits.make)(command.params, command.model_path, command.key)
        limit_s = command.params.load_timeout_s
        begin = time.monotonic()
        facts = self._on_loop(self._engine.start(), "the engine's start", limit_s)
        took = "load_s" if traits.started_here else "connect_s"  # a server has loaded already
        took_s = round(time.monotonic() - begin, 3)
        self._facts = facts.model_copy(update={took: took_s})
        return Ready(self._facts)

    def _run(self, command: RunTest) -> Ended:
        """One LoadGen test; its logs, records and result.json are in its folder afterwards."""
        params, prompts, folder = command.params, command.prompts, command.folder
        engine = self._engine
        conf = loadgen.user_conf(params, len(prompts), command.mode)
        settings = loadgen.make_settings(params, command.mode, conf, folder / "user.conf")
        begun = self._begin(command)
        keep = command.mode == "accuracy"
        cap = params.max_new_tokens if params.max_new_tokens < self._longest else None
        order = params.concurrency, params.longest_first
        sut = Sut(engine, prompts, self._loop, *order, keep, cap)
        # asyncio only logs what a callback raises, and LoadGen would wait for its query for ever.
        self._loop.set_exception_handler(partial(_note_failure, sut))
        seed = settings.schedule_rng_seed
        test = partial(loadgen.run_test, sut, len(prompts), settings, folder, command.audit_config)
        for take in (engine.steps, engine.take_routing, engine.ends):
            take()  # those of the warm-up do not count
        log_begin = position(self._log)
        server = ServerWatch(self._observe)
        planned, limit_s = partial(loadgen.planned_ns, params, seed), params.stall_timeout_s
        with (
            Redfish(self._controller, INTERVAL_S) as power,
            Telemetry(params.devices, params.base_url, server.look, power.read) as telemetry,
            Journal(folder, sut, planned, command.numbers) as journal,
        ):
            watch = Watch(sut, self._loop, self._thread, journal, self._pipe, limit_s)
            ended = watch.run(test)
        # A slice is a copy: a test that was given up may still be issuing.
        issued_ns = np.array(sut.records.issued_ns[:])
        due = loadgen.schedule_ns(params, seed, issued_ns)
        start_ns = schedule_start_ns(issued_ns, due)
        write_table(folder / "telemetry.parquet", telemetry.table(start_ns))
        write_table(folder / "engine_steps.parquet", steps_table(engine.steps(), start_ns))
        records = _records(sut, due, command.numbers, engine)
        write_table(folder / "records.parquet", records)
        if ended.status == "complete" and begun.warmup is not None:
            # A whole test warms better than any rounds.
            self._warm_to = max(self._warm_to, begun.warmup.batch)
        measured = {
            "duration_s": round(watch.duration_s, 6),
            "clock_step_ms": round(watch.clock_step_ms, 3),
            # LoadGen may be issuing still, if the test was given up: those that were written count.
            "queries": len(records),
            "late_compilations": late_compilations(self._log, log_begin),
            "refused": len(sut.refused),
            "refused_because": tuple(dict.fromkeys(sut.refused.values()))[:MOST_REASONS],
            "finish_reasons": dict(engine.ends()),
            "server": server.counts(),
        }
        return _write(begun.model_copy(update=measured), ended, folder)

    def _observe(self) -> Mapping[str, float]:
        asked = asyncio.run_coroutine_threadsafe(self._engine.observe(), self._loop)
        try:
            return asked.result(OBSERVE_S)
        except Exception:  # whatever it is, the test goes on
            asked.cancel()
            return {}

    def _begin(self, command: RunTest) -> Result:
        """Warm up, and write the result.json that remains if the test is killed."""
        params = command.params
        begin = time.monotonic()
        warmup = self._warm_up(command)
        begun = Result(
            mode=command.mode,
            status="running",
            scenario=params.scenario,
            benchmark=params.benchmark,
            warmup_queries=sum(each.queries for each in warmup.rounds),
            warmup_s=round(time.monotonic() - begin, 3),
            warmup=warmup,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            resumed_samples=command.resumed_samples,
        )
        begun.write(command.folder / "result.json")
        return begun

    def _warm_up(self, command: RunTest) -> WarmUp:
        """Rounds of queries until the engine is warm, where that matters."""
        params, prompts, facts = command.params, command.prompts, self._facts
        for_answers = command.mode == "accuracy"  # it measures no speed
        max_s = 0.0 if for_answers else params.warmup_max_s

        def ask(queries: int) -> Round:
            picked = pick_prompts(prompts, queries)
            self._rounds += 1
            if facts.prefix_caching:  # the test would find its own prompts in the cache
                picked = reordered(picked, self._rounds)
            cap = answer_cap(picked, facts) if for_answers or max_s else LONGEST_ANSWER
            pending = PendingRound(picked, cap)

            def moved() -> int:
                return pending.moved() + self._engine.progress()

            asked = pending.answered(self._engine)
            return self._on_loop(asked, "the warm-up", params.stall_timeout_s, moved)

        expected = expected_batch(params, len(prompts), command.mode, facts)
        return warm_up(ask, expected, params.warmup_queries, max_s, self._warm_to)

    def _score(self, command: ScoreTokens) -> Scored:
        """Score answers in growing batches while there is time."""
        pairs = list(zip(command.prompts, command.answers, strict=True))
        scored: list[TokenScores] = []
        begin, at_once, each_s = time.monotonic(), SCORED_AT_ONCE, 0.0
        while len(scored) < len(pairs):
            begun = time.monotonic()
            if each_s:
                at_once = int(min(2 * at_once, (command.most_s - (begun - begin)) / each_s))
            if at_once < 1:
                break
            asked = score_all(self._engine, pairs[len(scored) : len(scored) + at_once])
            try:
                found = self._on_loop(asked, "the scoring of answers", command.limit_s)
            except ValueError as error:
                return Scored([], f"the engine refused: {error}")
            if not found:
                return Scored([], "this engine does not tell how likely a token is")
            # Of this batch alone: the first one also compiles vLLM's kernels.
            each_s = (time.monotonic() - begun) / len(found)
            scored += found
            tokens = sum(len(one.logprobs) for one in scored)
            self._pipe.send(Progress(len(pairs), len(scored), tokens))
        return Scored(scored)

    def close(self) -> None:
        """Stop the engine; never hangs."""
        if hasattr(self, "_engine"):
            # One that is loading keeps its loop busy and reads no command.
            limit_s = STOP_S if hasattr(self, "_facts") else LOADING_STOP_S
            try:
                asyncio.run_coroutine_threadsafe(self._engine.stop(), self._loop).result(limit_s)
            except Exception:
                traceback.print_exc()

    def _on_loop(
        self,
        coroutine: Coroutine[Any, Any, T],
        what: str,
        limit_s: float,
        moved: Callable[[], int] | None = None,
    ) -> T:
        """Run on the engine's loop to its end, unless it takes too long or the parent gives up.

        Args:
            moved: a number that rises with progress, which is reported to the caller; the limit
                counts from there.

        Raises:
            BenchmarkError: if it takes too long.
            EOFError: if the parent is gone, or gives up.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        begin, last = time.monotonic(), 0
        while True:
            with suppress(TimeoutError):
                return future.result(LOOK_S)
            if moved is not None and (now := moved()) > last:
                begin, last = time.monotonic(), now
                self._pipe.send(Progress(0, 0, 0))
            if self._pipe.poll() and isinstance(self._pipe.recv(), Stop):
                raise EOFError
            if time.monotonic() - begin > limit_s:
                raise BenchmarkError(f"{what} did not end within {limit_s:.0f} s")
            if not self._thread.is_alive():
                raise BenchmarkError(f"{what} cannot end: the engine's event loop has ended")


def _note_failure(sut: Sut, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler during a test."""
    loop.default_exception_handler(context)
    sut.failed(context.get("exception") or RuntimeError(context["message"]))


def _records(
    sut: Sut, due_ns: np.ndarray | None, numbers: Sequence[int] | None, engine: Engine
) -> pa.Table:
    """The records, with samples by their number in the whole dataset and each query's replica."""
    records = sut.records.table(due_ns)
    rows, replicas = engine.take_routing()
    if len(rows):
        column = np.full(max(len(records), max(rows) + 1), -1)
        column[np.array(rows)] = replicas
        records = records.append_column("replica", pa.array(column[: len(records)]))
    if numbers is not None:
        samples = np.array(numbers, np.int64)[records["sample_index"].to_numpy()]
        records = records.set_column(0, "sample_index", pa.array(samples))
    return records


def _write(result: Result, ended: Ended, folder: Path) -> Ended:
    """result.json with LoadGen's logs; returns how the test ended, its logs looked at."""
    if ended.status == "complete":
        try:
            result = result.with_log(read_log(folder))
        except BenchmarkError as error:  # a full disk cuts LoadGen's logs silently
            ended = Ended("failed", str(error))
        else:
            if result.verdict is None and result.mode != "accuracy":
                ended = Ended("failed", "LoadGen's log ends before its verdict")
    result.model_copy(update={"status": ended.status}).write(folder / "result.json")
    # The answers of an accuracy test that did not come to its end are nowhere else.
    if ended.status == "complete" or result.mode != "accuracy":
        (folder / JOURNAL).unlink()
    return ended


async def score_all(
    engine: Engine, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[TokenScores]:
    """``Engine.score`` of prompts and answers at once; empty if the engine scores none.

    Raises:
        ValueError: see ``Engine.score``.
    """
    asked = (engine.score(prompt, answer) for prompt, answer in pairs)
    # All are waited for: none may still be at work when the next test begins.
    found = await asyncio.gather(*asked, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if isinstance(one, TokenScores)]


def main() -> None:
    """Serve on the pipe whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    worker = Worker(Connection(int(sys.argv[1])))
    try:
        worker.serve()
    except (EOFError, OSError):
        pass  # the parent is gone
    finally:
        worker.close()
        sys.stdout.flush()
        # Our session holds this process and what vLLM started; LoadGen's thread may still wait.
        end_session(os.getpid(), but=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
