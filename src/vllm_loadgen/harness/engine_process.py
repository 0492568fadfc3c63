"""The process that holds the engine, and the pipe to it; the end of all that it started."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from vllm_loadgen.files import report_os_errors
from vllm_loadgen.harness.messages import Stop
from vllm_loadgen.redact import environment_without_secrets

STOP_S = 20.0  # for an engine to end
LOOK_S = 0.05
# Variables that a study hands to its notebooks.
OURS = "VLLM_LOADGEN_"
# Not by -m: each process that vLLM starts would import the worker's module first, for a second.
MAIN = "from vllm_loadgen.harness.worker import main; main()"
# Python's own helper: it removes the shared memory and semaphores that killed processes leave, as
# soon as the last of them is gone. Killed with them, it would remove nothing.
TRACKER = "multiprocessing.resource_tracker"
TRACKER_S = 5.0
KILL_S = 3.0
# Intel's OpenMP (engines/cpu.py) marks its process here, by its id and its user's. One that is
# killed leaves its mark.
SHARED, MARK = Path("/dev/shm"), "__KMP_REGISTERED_LIB_"


class EngineProcess:
    """A worker (worker.py) and what it started, which are one session (see ``os.setsid``).

    Attributes:
        pid: the worker's, and its session's.
        pipe: commands and events go over it; the worker ends when no process holds it any more.
            Once closed, this process no longer owns the worker.
    """

    def __init__(self, pid: int, pipe: Connection) -> None:
        """A handle on a worker that another process started, and that may have ended since."""
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
        return self._process is not None and _lives(self._process)

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

    def wait(self, limit_s: float = math.inf) -> None:
        """Until it has ended, or for so long."""
        _until(lambda: not self.alive, limit_s)


def _environment() -> dict[str, str]:
    """This one's, without secrets, which no log may show, and ours, of which vLLM would warn."""
    known = environment_without_secrets()
    return {name: value for name, value in known.items() if not name.startswith(OURS)}


def end_session(session_id: int, but: int | None = None) -> None:
    """Kill the processes of a session (see ``os.setsid``) and let what they shared be removed.

    Args:
        but: a process that is spared: the caller, if it is of the session and ends next.
    """

    def working() -> list[psutil.Process]:
        members = _members(session_id)
        return [one for one in members if one.pid != but and not _is_tracker(one)]

    # Again and again: one that is just being started is in no list yet.
    _until(lambda: not sum(map(_kill, working())), KILL_S)
    _remove_marks(but)
    if but is not None:
        return  # the tracker waits for the caller's end, too
    _until(lambda: not any(_members(session_id)), TRACKER_S)
    for process in _members(session_id):
        _kill(process)
    _remove_marks()  # the tracker has one as well


def _until(gone: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not gone() and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _members(session_id: int) -> Iterator[psutil.Process]:
    """The living processes of a session, whoever their parent is now."""
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == session_id and _lives(process):
                yield process


def _lives(process: psutil.Process) -> bool:
    """Whether it is there still, and no zombie."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _is_tracker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(TRACKER in argument for argument in process.cmdline())
    return False


def _kill(process: psutil.Process) -> bool:
    """Whether it was still there."""
    with suppress(ProcessLookupError, psutil.Error):
        process.send_signal(signal.SIGKILL)
        return True
    return False


def _remove_marks(ends: int | None = None) -> None:
    """Of this user's processes that are gone, and of the one that ends next."""
    for mark in SHARED.glob(f"{MARK}*_{os.getuid()}"):
        number = mark.name.removeprefix(MARK).split("_")[0]
        if not number.isdigit():
            continue
        alive = False
        with suppress(psutil.Error):
            alive = int(number) != ends and _lives(psutil.Process(int(number)))
        if not alive:
            mark.unlink(missing_ok=True)
