"""What the job prints: a line that is updated while a notebook runs, and how long each took."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from loadgen_study import progress

POLL_S = 0.5


class Console:
    """The notebooks of a job as numbered steps, each with the last line of its kernel's bar.

    Args:
        steps: names of the notebooks, in order.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps = list(steps)
        self._redraws = sys.stdout.isatty()
        self._last = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show where a notebook stands while the body runs."""
        begin = time.monotonic()
        title = f"[{self._steps.index(name) + 1}/{len(self._steps)}] {name}"
        with TemporaryDirectory(prefix="vllm-loadgen-") as folder:
            place = Path(folder) / "line"
            stop = threading.Event()
            watch = threading.Thread(target=self._watch, args=(title, place, stop), daemon=True)
            os.environ[progress.LINE] = str(place)
            self._print(f"{title} ...")
            watch.start()
            try:
                yield
            finally:
                stop.set()
                watch.join()
                os.environ.pop(progress.LINE)
        self._print(f"{title} done in {time.monotonic() - begin:.0f} s", lasting=True)

    def _watch(self, title: str, place: Path, stop: threading.Event) -> None:
        interval_s = POLL_S if self._redraws else progress.LOG_INTERVAL_S
        while not stop.wait(interval_s):
            if place.is_file() and (line := place.read_text(encoding="utf-8")):
                self._print(f"{title}: {line}")

    def _print(self, line: str, lasting: bool = False) -> None:
        if line == self._last:
            return
        self._last = line
        if not self._redraws:
            print(line, flush=True)
            return
        cut = line[: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[K{cut}", end="\n" if lasting else "", flush=True)
