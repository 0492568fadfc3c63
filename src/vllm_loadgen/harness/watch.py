"""One LoadGen test in its own thread, and the watch over it: LoadGen has no way to abort."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from vllm_loadgen.harness.journal import Journal
from vllm_loadgen.harness.messages import Ended, Progress, Stop
from vllm_loadgen.harness.sut import Sut, describe

TICK_S = 0.5


@dataclass
class Watch:
    """Runs a test until it ends, fails, stands still or is given up.

    Attributes:
        sut: under test. loop: the SUT's, in ``loop_thread``.
        journal: takes the records now and then.
        pipe: progress goes out on it, and ``Stop`` comes in.
        stall_s: an engine that owes answers and makes no progress for so long is dead.
        duration_s: of the test. clock_step_ms: see ``Result``.
    """

    sut: Sut
    loop: asyncio.AbstractEventLoop
    loop_thread: threading.Thread
    journal: Journal
    pipe: Connection
    stall_s: float
    duration_s: float = 0.0
    clock_step_ms: float = 0.0
    _error: BaseException | None = None
    _beat_at: float = 0.0
    _beat_due: bool = False

    def run(self, test: Callable[[], None]) -> Ended:
        """Run ``test``, which blocks until LoadGen is done, to its end.

        Raises:
            BaseException: what ``test`` raised.
        """
        thread = threading.Thread(target=self._run_test, args=(test,), name="loadgen", daemon=True)
        with no_garbage_collection():
            begin, clock_s = time.monotonic(), time.time()
            thread.start()
            try:
                ended = self._until_its_end(thread)
            finally:
                self.duration_s = time.monotonic() - begin
                self.clock_step_ms = 1e3 * (time.time() - clock_s - self.duration_s)
        if thread.is_alive():
            self._close_sut()
        with suppress(OSError):  # the next file reports a full disk
            self.journal.note()
        if self._error is not None:
            raise self._error
        return ended

    def _run_test(self, test: Callable[[], None]) -> None:
        try:
            test()
        except BaseException as error:
            self._error = error

    def _until_its_end(self, thread: threading.Thread) -> Ended:
        self._beat_at = moved_at = time.monotonic()
        last = -1
        while True:
            thread.join(TICK_S)
            sut = self.sut
            now = sut.progress
            if now != last or len(sut.records) == sut.done_count:
                moved_at, last = time.monotonic(), now
            means = sut.records.recent_ms()
            self.pipe.send(Progress(len(sut.records), sut.done_count, sut.token_count, *means))
            if not thread.is_alive():
                return Ended("complete")
            if problem := self._problem(moved_at) or self._note():
                return Ended("failed", problem)
            if self.pipe.poll() and isinstance(self.pipe.recv(), Stop):
                return Ended("interrupted", "interrupted")

    def _close_sut(self) -> None:
        """End the records here, so that the journal has every answer that they have."""
        closed = threading.Event()

        def close() -> None:
            self.sut.close()
            closed.set()

        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(close)
            closed.wait(TICK_S)

    def _problem(self, moved_at: float) -> str:
        """Why the test cannot go on; empty if it can."""
        if self.sut.failure is not None:
            return f"the engine died: {describe(self.sut.failure)}"
        if not self.loop_thread.is_alive():
            return "the engine's event loop has ended"
        # A loop that stands still takes no queries, and so would only look idle.
        if not self._beat_due:
            self._beat_due = True
            self.loop.call_soon_threadsafe(self._beat)
        if time.monotonic() - self._beat_at > self.stall_s:
            return f"the engine's event loop stood still for {self.stall_s:.0f} s"
        if time.monotonic() - moved_at > self.stall_s:
            return f"the engine gave no answer for {self.stall_s:.0f} s"
        return ""

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._beat_due = False

    def _note(self) -> str:
        try:
            self.journal.note_now_and_then()
        except OSError as error:
            return f"the records cannot be written: {describe(error)}"
        return ""


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """No garbage collection while the body runs, and none of the objects made before it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
