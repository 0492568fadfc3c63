"""Curves that grow in a notebook while a test runs: queries in flight, TTFT, tokens/s.

The browser draws them (Vega-Lite, which JupyterLab brings along); the kernel sends a few kilobytes
now and then, so that nothing beside the test takes the machine's time. They are gone at its end:
the report has figures of all queries.
"""

import time
from typing import Any

from vllm_loadgen.harness.messages import Progress
from vllm_loadgen.progress import in_notebook

MIME = "application/vnd.vegalite.v5+json"
INTERVAL_S = 1.0
# A longer test shows every second point, then every fourth: what is sent stays as small.
MOST_POINTS = 150
IN_FLIGHT, TTFT, RATE = "queries in flight", "TTFT, ms", "tokens/s"


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

    def _show(self, bundle: dict[str, Any]) -> None:
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


def spec(points: list[dict[str, float | None]]) -> dict[str, Any]:
    """Three small charts over the test's seconds, side by side."""
    charts = [
        {
            "mark": {"type": "line", "interpolate": "monotone"},
            "encoding": {
                "x": {"field": "s", "type": "quantitative", "title": "s"},
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
