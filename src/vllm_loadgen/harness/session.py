"""An engine that stays loaded: the caller's handle on the worker process."""

import atexit
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vllm_loadgen import progress
from vllm_loadgen.errors import BenchmarkError, EngineError
from vllm_loadgen.harness import handover
from vllm_loadgen.harness.curves import Curves
from vllm_loadgen.harness.engine_log import compile_s, explain, position
from vllm_loadgen.harness.engine_process import STOP_S, EngineProcess
from vllm_loadgen.harness.loadgen import expected_queries
from vllm_loadgen.harness.messages import (
    Abort,
    Command,
    Ended,
    Event,
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
from vllm_loadgen.params import TestParams
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.records.result import Mode

ABORT_S = 5.0
KEY_NAME = "OPENAI_API_KEY"
GRACE_S = 10.0  # the worker is asked first whether its engine stands still


class Session:
    """A worker process with a loaded engine; serves several tests in a row.

    Use it as a context manager, or call ``close``. The process and all its children end with
    the session, with this process, and with an interrupt of a test.

    Args:
        params: engine options are taken from here; each test may bring other LoadGen settings.
        model_path: folder of the checkpoint.
        log: file for everything that engine and LoadGen print.

    Raises:
        EngineError: if the engine cannot be started; the message ends with its log's tail.
    """

    def __init__(self, params: TestParams, model_path: Path | str, log: Path) -> None:
        self.log = log
        self._log_begin = position(log)
        key = os.environ.get(KEY_NAME, "").strip() if params.engine == "openai" else ""
        self._start = Start(TestParams.of(params), str(model_path), log.resolve(), key)
        self._process, loaded = self._found()
        self.engine = loaded or self._load()
        atexit.register(self.close)

    def _found(self) -> tuple[EngineProcess, EngineFacts | None]:
        """What the job has for this notebook: the engine that the one before left, if it is as this
        one, or a worker without an engine; else a new worker."""
        if (found := handover.fetch()) is not None:
            left, process = found
            if process.alive and left.start in (None, self._start):
                if left.engine is not None:
                    print("The engine: loaded before, used again")
                return process, left.engine
            handover.end(left, process)  # two engines at once would measure each other
        return EngineProcess.start(self.log), None

    def _load(self) -> EngineFacts:
        """Load the engine.

        Raises:
            EngineError: if it cannot be loaded.
        """
        try:
            self._send(self._start)
            served = self._start.params.engine == "openai"
            with progress.ticking("Connecting" if served else "Loading the engine"):
                facts = self._ready(self._start.params.load_timeout_s)
        except BaseException:
            self._process.end(Abort(), ABORT_S)
            raise
        # vLLM's engine compiles in a process of its own, and tells it in the log alone.
        return facts.model_copy(update={"compile_s": compile_s(self.log, self._log_begin)})

    def run(
        self,
        params: TestParams,
        prompts: Sequence[Sequence[int]],
        mode: Mode,
        folder: Path,
        audit_config: Path | None = None,
        numbers: list[int] | None = None,
        resumed_samples: int = 0,
    ) -> None:
        """One LoadGen test; logs, records.parquet and result.json are in ``folder`` afterwards.

        Args:
            params: LoadGen's settings are taken from here.
            prompts: token ids of each sample, by QSL index.
            mode: "performance", "accuracy" or "compliance".
            folder: an empty folder, or one to be made.
            audit_config: LoadGen's audit.config, for a compliance test.
            numbers, resumed_samples: see ``RunTest``.

        Raises:
            EngineError: if the engine died; what was measured until then is in ``folder``.
            KeyboardInterrupt: after an interrupt; likewise.
        """
        folder.mkdir(parents=True, exist_ok=True)
        audit = audit_config.resolve() if audit_config else None
        asked = Prompts.of(prompts)
        test = RunTest(
            TestParams.of(params), asked, mode, folder.resolve(), audit, numbers, resumed_samples
        )
        try:
            self._send(test)
            expected = expected_queries(params, len(prompts), mode)
            with Curves() as curves:
                what = f"{mode.capitalize()} run"
                self._follow(what, expected, params.stall_timeout_s, curves.add)
        except KeyboardInterrupt:
            # LoadGen cannot abort, so the process ends with the test; its records are kept.
            self._end(Abort(), ABORT_S)
            raise

    def score(
        self,
        prompts: Sequence[Sequence[int]],
        answers: list[list[int]],
        stall_s: float,
        most_s: float = math.inf,
    ) -> Scored:
        """How likely the engine holds answers that it is given (see ``Engine.score``).

        Args:
            most_s: of time; what is asked for later is left out, from the end.

        Raises:
            EngineError: if the engine died, or stood still for ``stall_s``.
            KeyboardInterrupt: after an interrupt, which ends the engine.
        """
        try:
            self._send(ScoreTokens(Prompts.of(prompts), answers, stall_s, most_s))
            event = self._follow("Scoring the reference's answers", len(answers), stall_s)
        except KeyboardInterrupt:
            self._end(Abort(), ABORT_S)
            raise
        if not isinstance(event, Scored):
            raise EngineError(f"the engine's process answered {event} out of turn.")
        return event

    def _follow(
        self,
        what: str,
        expected: int,
        stall_s: float,
        seen: Callable[[Progress], None] = lambda _: None,
    ) -> Event:
        """Show progress until something else comes, which is returned.

        Args:
            seen: called with each progress.

        Raises:
            EngineError: if that is a failure.
        """
        with progress.bar(expected, what) as shown:
            begin = time.monotonic()
            while isinstance(event := self._receive(stall_s), Progress):
                if event.issued > (shown.total or 0):
                    shown.total = event.issued
                rate = event.tokens / (time.monotonic() - begin)
                shown.set_postfix_str(", ".join([f"{rate:.0f} tokens/s", *_running(event)]), False)
                shown.update(event.done - shown.n)
                seen(event)
        self._check(event)
        return event

    def _send(self, command: Command) -> None:
        try:
            self._process.pipe.send(command)
        except OSError:
            raise self._dead() from None

    def _receive(self, limit_s: float) -> Event:
        """The next event.

        Raises:
            EngineError: if the process has ended, or stands still: it watches its engine by
                the same limit, so that its silence is its own.
        """
        try:
            if self._process.pipe.poll(limit_s + GRACE_S):
                event: Event = self._process.pipe.recv()
                return event
        except (EOFError, OSError):
            raise self._dead() from None
        self.kill()
        raise EngineError(f"the engine's process stood still for {limit_s:.0f} s and was ended.")

    def _ready(self, limit_s: float) -> EngineFacts:
        while isinstance(event := self._receive(limit_s), Prepared):
            pass
        self._check(event)
        if not isinstance(event, Ready):
            raise EngineError(f"the engine's process answered {event} out of turn.")
        return event.engine

    def _check(self, event: Event) -> None:
        if isinstance(event, Refused):
            self.close()  # it may hang, and would hold its memory
            raise self._explained(event.message)
        if isinstance(event, Ended) and event.status == "failed":
            self.close()
            raise self._explained(f"{event.message}. What was measured until then is kept.")

    def _dead(self) -> BenchmarkError:
        self._process.wait(STOP_S)
        self._process.kill()  # what it has started may be there still
        status = self._process.status
        how = "" if status is None else f" with status {status}"
        return self._explained(f"the engine's process ended{how}; its log is {self.log}.")

    def _explained(self, problem: str) -> EngineError:
        """A problem with what the engine's log says of it."""
        return EngineError(f"{problem}\n{explain(self.log, self._log_begin)}".rstrip())

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the engine is still loaded."""
        return self._process.alive

    def leave(self) -> None:
        """Leave the engine to the job's next notebook; without a job, end it."""
        left = handover.Left(self.pid, self._start, self.engine)
        if self.alive and handover.leave(left, self._process.pipe):
            atexit.unregister(self.close)
            self._process.pipe.close()
        else:
            self.close()

    def close(self) -> None:
        """End the worker and everything it started; safe to call twice."""
        self._end(Stop(), STOP_S)

    def _end(self, command: Command, patience_s: float) -> None:
        atexit.unregister(self.close)
        self._process.end(command, patience_s)

    def kill(self) -> None:
        """End the worker and all that it started, now; safe from another thread."""
        self._process.kill()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _running(event: Progress) -> list[str]:
    """The running means of a progress message, as a reader would say them."""
    means = {"TTFT": event.ttft_ms, "TPOT": event.tpot_ms}
    return [f"{name} {value:.0f} ms" for name, value in means.items() if value is not None]
