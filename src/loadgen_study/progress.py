"""tqdm bars that leave one line behind, in JupyterLab, a terminal and an executed notebook."""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOG_INTERVAL_S = 15.0
RUNNING = "{desc} |{bar:20}| {n_fmt}/{total_fmt}{postfix}, {remaining} left"
# Names the file in which a notebook's kernel leaves its last line, for the console of the job.
LINE = "VLLM_LOADGEN_PROGRESS"


class _Lines:
    """A file for tqdm that prints whole lines to stderr, for a log: each once."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        line = re.sub(r"\x1b\[A|[\r\n]", "", text).strip()
        if line and line != self._last:
            self._last = line
            self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


class _Display(_Lines):
    """A file for tqdm that shows its last line in one place of a notebook's output.

    ipywidgets would leave nothing in an executed notebook, and plain text a line per update.
    """

    def __init__(self) -> None:
        from IPython.display import display

        super().__init__()
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def _print(self, line: str) -> None:
        self._handle.update({"text/plain": line}, raw=True)
        if place := os.environ.get(LINE):
            with suppress(OSError):  # the job may be at its end
                Path(place).write_text(line, encoding="utf-8")


class Bar(tqdm):
    """Ends in a line that gives what was done and how long it took, or that it ended early."""

    def close(self) -> None:
        if self.total is not None:
            early = " (ended early)" if self.n < self.total else ""
            self.bar_format = "{desc}: {n_fmt}/{total_fmt} in {elapsed}{postfix}" + early
        super().close()


class CallbackBar(tqdm):
    """Reports the completed fraction, 0 to 1, to a callback instead of showing a bar."""

    callback: Callable[[float], object] | None = None

    def display(self, *_: object, **__: object) -> bool:
        if CallbackBar.callback is not None and self.total:
            CallbackBar.callback(min(1.0, self.n / self.total))
        return True


def report_to(callback: Callable[[float], object]) -> None:
    """Replace every bar of this process by a call with the completed fraction, 0 to 1."""
    CallbackBar.callback = callback


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def bar(total: int | None, description: str, unit: str = "query", **options: Any) -> tqdm:
    """A progress bar; use it as a context manager."""
    # A log file gets a line now and then, not one for each step.
    redrawn = in_notebook() or sys.stderr.isatty()
    file = _Display() if in_notebook() else sys.stderr if redrawn else _Lines()
    look = {"bar_format": RUNNING, "ascii": " =", "ncols": 120} | options
    return (CallbackBar if CallbackBar.callback is not None else Bar)(
        total=total, desc=description, unit=unit, file=file,
        mininterval=0.5 if redrawn else LOG_INTERVAL_S, **look,
    )  # fmt: skip


@contextmanager
def ticking(description: str) -> Iterator[None]:
    """Show the seconds that go by while the body runs, for work that cannot tell how far it is."""
    stop = threading.Event()
    with bar(None, description, unit="s", bar_format="{desc}: {elapsed}") as ticker:

        def tick() -> None:
            while not stop.wait(1.0):
                ticker.update(1)

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            ticker.refresh()
