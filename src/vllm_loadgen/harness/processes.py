"""The end of a worker and of all that it started."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

# Python's own helper: it removes the shared memory and semaphores that killed processes leave, as
# soon as the last of them is gone. Killed with them, it would remove nothing.
TRACKER = "multiprocessing.resource_tracker"
TRACKER_S = 5.0
LOOK_S = 0.05


def end_session(session_id: int, but: int | None = None) -> None:
    """Kill the processes of a session (see ``os.setsid``) and let what they shared be removed.

    Args:
        but: a process that is spared: the caller, if it is of the session.
    """
    for process in _members(session_id):
        if process.pid != but and not _is_tracker(process):
            _kill(process)
    if but is not None:
        return  # the tracker waits for the caller's end, too
    deadline = time.monotonic() + TRACKER_S
    while any(_members(session_id)) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    for process in _members(session_id):
        _kill(process)


def _members(session_id: int) -> Iterator[psutil.Process]:
    """The living processes of a session, whoever their parent is now."""
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session_id and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _is_tracker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(TRACKER in argument for argument in process.cmdline())
    return False


def _kill(process: psutil.Process) -> None:
    with suppress(ProcessLookupError, psutil.Error):
        process.send_signal(signal.SIGKILL)
