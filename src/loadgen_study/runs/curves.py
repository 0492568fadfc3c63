"""What is shown of a running test: a bar and, in a notebook, growing curves.

The curves are queries in flight, TTFT and tokens/s. The browser draws them (Vega-Lite, which
JupyterLab brings along); the kernel sends a few kilobytes now and then, so that only the test takes
the machine's time. They are gone at its end: the report has figures of all queries.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loadgen_study import progress
from loadgen_study.progress import in_notebook
from loadgen_study.words import per_s
from vllm_loadgen.harness.loadgen import expected_queries
from vllm_loadgen.harness.messages import Progress
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.result import Mode

MIME = "application/vnd.vegalite.v5+json"
INTERVAL_S = 1.0
# A longer test shows every second point, then every fourth: what is sent stays as small.
MOST_POINTS = 150
IN_FLIGHT, TTFT, RATE = "queries in flight", "TTFT, ms", "tokens/s"
Show = Callable[[Progress], None]


@contextmanager
def shown_test(params: TestParams, samples: int, mode: Mode) -> Iterator[Show]:
    """What shows the progress of a test (``on_progress`` of ``Session.run``)."""
    expected = expected_queries(params, samples, mode)
    with Curves() as curves, shown(_named(params, mode), expected, about=True) as show_bar:

        def show(seen: Progress) -> None:
            show_bar(seen)
            curves.add(seen)

        yield show


def _named(params: TestParams, mode: Mode) -> str:
    """A test's name, with the load where a run has several."""
    name = f"{mode.capitalize()} run"
    if params.concurrency:
        return f"{name}, {params.concurrency} at once"
    scheduled = mode == "performance" and params.scenario_traits.scheduled
    return f"{name} at {per_s(params.rate)}" if scheduled else name


@contextmanager
def shown(what: str, expected: int, about: bool = False) -> Iterator[Show]:
    """What shows progress by a bar.

    Args:
        expected: queries. about: whether there may be fewer of them in the end.
    """
    with progress.bar(expected, what) as bar:
        begin = time.monotonic()

        def show(seen: Progress) -> None:
            if seen.issued > (bar.total or 0):
                bar.total = seen.issued
            rate = seen.tokens / (time.monotonic() - begin)
            means = {"TTFT": seen.ttft_ms, "TPOT": seen.tpot_ms}
            running = [f"{name} {ms:.0f} ms" for name, ms in means.items() if ms is not None]
            bar.set_postfix_str(", ".join([f"{rate:.0f} tokens/s", *running]), False)
            bar.update(seen.done - bar.n)

        yield show
        if about:
            bar.total = bar.n


class Curves:
    """Use it as a context manager; outside of a notebook it shows nothing."""

    def __init__(self) -> None:
        self._begin = self._shown_at = time.monotonic()
        self._points: list[dict[str, float | None]] = []
        self._last = (0.0, 0)
        self._handle: Any = None

    def add(self, seen: Progress) -> None:
        """How the test stands now; shown at most once in ``INTERVAL_S``."""
        now = time.monotonic()
        if not in_notebook() or now - self._shown_at < INTERVAL_S:
            return
        at_s, before = now - self._begin, self._last
        rate = (seen.tokens - before[1]) / (at_s - before[0])
        self._last, self._shown_at = (at_s, seen.tokens), now
        self._points.append(
            {
                "s": round(at_s, 1),
                IN_FLIGHT: seen.issued - seen.done,
                TTFT: seen.ttft_ms,
                RATE: round(rate, 1),
            }
        )
        if len(self._points) > MOST_POINTS:
            del self._points[::2]
        self._show({MIME: spec(self._points), "text/plain": ""})

    def _show(self, bundle: dict[str, object]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._show({"text/plain": ""})


def spec(points: list[dict[str, float | None]]) -> dict[str, object]:
    """Three small charts over the test's seconds, side by side."""
    charts = [
        {
            "mark": {"type": "line", "interpolate": "monotone"},
            "encoding": {
                "x": {"field": "s", "type": "quantitative", "title": "time, s"},
                "y": {"field": name, "type": "quantitative", "title": None},
            },
            "title": name,
            "width": 220,
            "height": 90,
        }
        for name in (IN_FLIGHT, TTFT, RATE)
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": points},
        "hconcat": charts,
    }
