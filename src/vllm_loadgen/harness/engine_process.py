"""The process that holds the engine, and the pipe to it, for whoever uses it now."""

import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from vllm_loadgen.files import report_os_errors
from vllm_loadgen.harness.messages import Stop
from vllm_loadgen.harness.processes import end_session, lives
from vllm_loadgen.redact import environment_without_secrets

STOP_S = 20.0  # for an engine to end
LOOK_S = 0.05
# Variables that a study hands to its notebooks.
OURS = "VLLM_LOADGEN_"
# Not by -m: each process that vLLM starts would import the worker's module first, for a second.
MAIN = "from vllm_loadgen.harness.worker import main; main()"


class EngineProcess:
    """A worker (worker.py) and what it started, which are one session (see ``os.setsid``).

    Attributes:
        pid: the worker's, and its session's.
        pipe: commands and events go over it; the worker ends when no process holds it any more.
            Once closed, this process no longer owns the worker.
    """

    def __init__(self, pid: int, pipe: Connection) -> None:
        """One that another process has started, which may have ended since."""
        self.pid, self.pipe = pid, pipe
        self._child: subprocess.Popen[bytes] | None = None
        self._process: psutil.Process | None = None
        with suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    @classmethod
    def start(cls, log: Path) -> "EngineProcess":
        """A new one, without an engine yet; all that it prints goes to the log."""
        pipe, theirs = Pipe()
        command = [sys.executable, "-c", MAIN, str(theirs.fileno())]
        with report_os_errors(log), log.open("ab") as sink:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=_environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        theirs.close()
        made = cls(child.pid, pipe)
        made._child = child
        return made

    @property
    def alive(self) -> bool:
        """Whether the worker is still there, and this process's."""
        if self.pipe.closed:
            return False
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and lives(self._process)

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None if it lives or only its parent knows."""
        return self._child.poll() if self._child is not None else None

    def end(self, patience_s: float) -> None:
        """Stop the worker, give it some time to tidy up, and kill what is left of it."""
        try:
            if self.alive:
                with suppress(OSError):
                    self.pipe.send(Stop())
                    self.wait(patience_s)
        finally:  # an interrupt of the patience, too
            self.kill()

    def kill(self) -> None:
        """End the worker and all that it started, now; safe from another thread."""
        if self.pipe.closed:
            return
        end_session(self.pid)  # the engine's own children share the worker's session
        self.wait()
        self.pipe.close()

    def wait(self, limit_s: float | None = None) -> None:
        """Until it has ended, or for so long."""
        begin = time.monotonic()
        while self.alive and (limit_s is None or time.monotonic() - begin < limit_s):
            time.sleep(LOOK_S)


def _environment() -> dict[str, str]:
    """Without secrets, so that no log shows one, and without ours, of which vLLM would warn."""
    known = environment_without_secrets()
    return {name: value for name, value in known.items() if not name.startswith(OURS)}
