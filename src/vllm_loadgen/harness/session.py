"""An engine that stays loaded: the caller's handle on the worker process."""

import atexit
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.engine_log import compile_s, explain, position
from vllm_loadgen.harness.engine_process import STOP_S, EngineProcess
from vllm_loadgen.harness.messages import (
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
)
from vllm_loadgen.params import TestParams
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.records.result import Mode

ABORT_S = 5.0
GRACE_S = 10.0  # the worker checks first whether its engine stands still
OnProgress = Callable[[Progress], object]


class Session:
    """A worker process with a loaded engine; serves several tests in a row.

    Use it as a context manager, or call ``close``. The process and all its children end with
    the session, with this process, and with an interrupt of a test.

    Args:
        params: engine options are taken from here; each test may bring other LoadGen settings.
        model_path: folder of the checkpoint.
        log: file for everything that engine and LoadGen print.
        worker: a process to use instead of a new one.
        engine: the engine that this worker has loaded already, by the same arguments.

    Attributes:
        engine: the loaded engine. start, worker: the command that loads it, and its process.

    Raises:
        EngineError: if the engine cannot be started; the message ends with its log's tail.
    """

    def __init__(
        self,
        params: TestParams,
        model_path: Path | str,
        log: Path,
        worker: EngineProcess | None = None,
        engine: EngineFacts | None = None,
    ) -> None:
        self.log = log
        self._log_begin = position(log)
        self.start = Start.of(params, model_path, log)
        self.worker = worker or EngineProcess.start(log)
        atexit.register(self.close)
        self.engine = engine or self._load()

    def _load(self) -> EngineFacts:
        ready = self._ask(self.start, self.start.params.load_timeout_s)
        assert isinstance(ready, Ready), ready
        # vLLM's engine compiles in a process of its own, and reports it in the log alone.
        compiled = compile_s(self.log, self._log_begin)
        return ready.engine.model_copy(update={"compile_s": compiled})

    def run(
        self,
        params: TestParams,
        prompts: Sequence[Sequence[int]],
        mode: Mode,
        folder: Path,
        audit_config: Path | None = None,
        numbers: list[int] | None = None,
        resumed_samples: int = 0,
        on_progress: OnProgress | None = None,
    ) -> None:
        """One LoadGen test; logs, records.parquet and result.json are in ``folder`` afterwards.

        Args:
            params: LoadGen's settings are taken from here.
            folder: an empty folder, or one to be made.
            prompts, mode, audit_config, numbers, resumed_samples: see ``RunTest``.
            on_progress: called every half second.

        Raises:
            EngineError: if the engine died; what was measured until then is in ``folder``.
            KeyboardInterrupt: after an interrupt; likewise.
        """
        folder.mkdir(parents=True, exist_ok=True)
        test = RunTest(
            TestParams.of(params),
            Prompts.of(prompts),
            mode,
            folder.resolve(),
            audit_config.resolve() if audit_config else None,
            numbers,
            resumed_samples,
        )
        self._ask(test, params.stall_timeout_s, on_progress)

    def score(
        self,
        prompts: Sequence[Sequence[int]],
        answers: list[list[int]],
        stall_s: float,
        most_s: float = math.inf,
        on_progress: OnProgress | None = None,
    ) -> Scored:
        """The probabilities that the engine gives to answers (see ``Engine.score``).

        Args:
            stall_s, most_s: ``limit_s`` and ``most_s`` of ``ScoreTokens``.
            on_progress: called after each batch of answers.

        Raises:
            EngineError: if the engine died, or stood still for ``stall_s``.
            KeyboardInterrupt: after an interrupt, which ends the engine.
        """
        command = ScoreTokens(Prompts.of(prompts), answers, stall_s, most_s)
        scored = self._ask(command, stall_s, on_progress)
        assert isinstance(scored, Scored), scored
        return scored

    def _ask(
        self, command: Command, limit_s: float, on_progress: OnProgress | None = None
    ) -> Event:
        """Send a command and wait for its answer.

        Raises:
            EngineError: if that is a failure.
            KeyboardInterrupt: after an interrupt.
        """
        try:
            try:
                self.worker.pipe.send(command)
            except OSError:
                raise self._dead() from None
            while isinstance(event := self._receive(limit_s), Progress | Prepared):
                if on_progress is not None and isinstance(event, Progress):
                    on_progress(event)
        except KeyboardInterrupt:
            # LoadGen cannot abort, so the process ends with the test; its records are kept.
            self._end(ABORT_S)
            raise
        if isinstance(event, Refused):
            self.close()  # it may hang, and would hold its memory
            raise self._explained(event.message)
        if isinstance(event, Ended) and event.status == "failed":
            self.close()
            raise self._explained(f"{event.message}. What was measured until then is kept.")
        return event

    def _receive(self, limit_s: float) -> Event:
        """The next event.

        Raises:
            EngineError: if the process has ended, or stands still. It watches its engine by the
                same limit, so a slow engine does not silence it.
        """
        try:
            if self.worker.pipe.poll(limit_s + GRACE_S):
                event: Event = self.worker.pipe.recv()
                return event
        except (EOFError, OSError):
            raise self._dead() from None
        self.kill()
        raise EngineError(f"the engine's process stood still for {limit_s:.0f} s and was ended.")

    def _dead(self) -> EngineError:
        self.worker.wait(STOP_S)
        self.worker.kill()  # what it has started may be there still
        status = self.worker.status
        how = "" if status is None else f" with status {status}"
        return self._explained(f"the engine's process ended{how}; its log is {self.log}.")

    def _explained(self, problem: str) -> EngineError:
        """A problem with the cause that the engine's log gives."""
        return EngineError(f"{problem}\n{explain(self.log, self._log_begin)}".rstrip())

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self.worker.pid

    @property
    def alive(self) -> bool:
        """Whether the engine is still loaded."""
        return self.worker.alive

    def release(self) -> None:
        """Leave the worker to another process, which holds its pipe now."""
        atexit.unregister(self.close)
        self.worker.pipe.close()

    def close(self) -> None:
        """End the worker and everything it started; safe to call twice."""
        self._end(STOP_S)

    def _end(self, patience_s: float) -> None:
        atexit.unregister(self.close)
        self.worker.end(patience_s)

    def kill(self) -> None:
        """End the worker and all that it started, now; safe from another thread."""
        self.worker.kill()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
