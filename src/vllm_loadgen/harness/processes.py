"""The end of a worker and of all that it started."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

# Python's own helper: it removes the shared memory and semaphores that killed processes leave, as
# soon as the last of them is gone. Killed with them, it would remove nothing.
TRACKER = "multiprocessing.resource_tracker"
TRACKER_S = 5.0
KILL_S = 3.0
LOOK_S = 0.05
# Intel's OpenMP (engines/preload.py) marks its process here, by its id and its user's. One that is
# killed leaves its mark.
SHARED, MARK = Path("/dev/shm"), "__KMP_REGISTERED_LIB_"


def end_session(session_id: int, but: int | None = None) -> None:
    """Kill the processes of a session (see ``os.setsid``) and let what they shared be removed.

    Args:
        but: a process that is spared: the caller, if it is of the session and ends next.
    """
    # Again and again: one that is just being started is in no list yet.
    _until(lambda: not sum(_kill(one) for one in _working(session_id, but)), KILL_S)
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


def _working(session_id: int, but: int | None) -> Iterator[psutil.Process]:
    """All members but the one that is spared and the tracker."""
    for process in _members(session_id):
        if process.pid != but and not _is_tracker(process):
            yield process


def _remove_marks(ends: int | None = None) -> None:
    """Those of this user's processes that are gone, and of the one that ends next."""
    for mark in SHARED.glob(f"{MARK}*_{os.getuid()}"):
        process_id = mark.name.removeprefix(MARK).split("_")[0]
        if process_id.isdigit() and (int(process_id) == ends or not _lives(int(process_id))):
            mark.unlink(missing_ok=True)


def lives(process: psutil.Process) -> bool:
    """Whether it is there still, and no zombie."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _lives(process_id: int) -> bool:
    with suppress(psutil.Error):
        return lives(psutil.Process(process_id))
    return False


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


def _kill(process: psutil.Process) -> bool:
    """True, as far as it was there."""
    with suppress(ProcessLookupError, psutil.Error):
        process.send_signal(signal.SIGKILL)
        return True
    return False
