"""What a notebook cell shows: tables as HTML, and sections of figure, sentence and table."""

import html
import re
from itertools import zip_longest

import pandas as pd
from IPython.display import HTML, Markdown, display
from markupsafe import Markup

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.words import visible

# What a reader calls the columns of the tables that Python computes with.
NAMES = {
    "user_tokens_per_s": "one user's tokens/s",
    "samples_per_s": "completed, queries/s", "goodput_per_s": "goodput, queries/s",
    "tpot_mean_ms": "mean TPOT, ms", "ttft_mean_ms": "mean TTFT, ms",
    "latency_mean_ms": "mean latency, ms", "ttft_max_ms": "longest TTFT, ms",
    "tokens_per_s": "tokens/s", "tokens_per_s_cv": "tokens/s: spread (CV)",
    "tokens_per_s_low": "tokens/s: 95 % from", "tokens_per_s_high": "tokens/s: 95 % to",
    "ci_low": "95 % from", "ci_high": "95 % to", "cv": "spread (CV)",
    "price_per_million": "price of 10^6 tokens", "joules_per_token": "J per token",
    "watts": "mean power, W", "served_at_once": "served at once, queries",
    "decode_tokens_per_s": "decode, tokens/s", "limit_tokens_per_s": "its limit, tokens/s",
    "limit_share": "share of its limit", "bound_by": "bound by",
    "input_tokens": "input tokens", "output_tokens": "output tokens",
    "mean_running": "running, mean", "mean_waiting": "waiting, mean",
    "begin_s": "first step's end, s", "end_s": "last step's end, s",
}  # fmt: skip
# ttft_p90_ms, tpot_p99_upper_ms
_PERCENTILE = re.compile(r"(ttft|tpot)_(p\d+)(_upper)?_ms")


class Section:
    """Parts that are shown one under the other; nothing at all where there is nothing to show.

    Args:
        parts: text (Markdown), ``Markup`` (HTML), frames (shown as tables) and whatever else a
            notebook displays; empty ones and None are left out. The text after a figure is its
            caption, and what is read out in its place.
    """

    def __init__(self, *parts: object) -> None:
        self.parts = [part for part in parts if not _empty(part)]

    def _ipython_display_(self) -> None:
        for part, follows in zip_longest(self.parts, self.parts[1:]):
            drawn = hasattr(part, "_repr_png_") and isinstance(follows, str)
            said = {"image/png": {"alt": spoken(str(follows))}} if drawn else None
            display(_shown(part), metadata=said)


def spoken(caption: str) -> str:
    """A sentence of the report without its marks of Markdown."""
    return html.unescape(re.sub(r"\\(.)|[*`]", r"\1", caption))


def _empty(part: object) -> bool:
    return part is None or (isinstance(part, str | pd.DataFrame) and len(part) == 0)


def _shown(part: object) -> object:
    if isinstance(part, Markup):
        return HTML(part)
    if isinstance(part, str):
        return Markdown(part)
    return table(part) if isinstance(part, pd.DataFrame) else part


def table(frame: pd.DataFrame) -> HTML:
    """A frame as an HTML table: the index as an ordinary column, numbers to four figures."""
    plain = frame.reset_index() if frame.index.name or frame.index.dtype == object else frame
    plain = plain.rename(columns=called)
    whole = {name: "{:,}".format for name in plain.select_dtypes("integer")}
    html = plain.to_html(
        index=False, border=0, formatters=whole, float_format=_number, na_rep="", justify="left"
    )
    # JupyterLab would set all cells to the right, and most of ours are text.
    return HTML(re.sub("<(t[dh])>", r'<\1 style="text-align: left">', visible(html)))


def called(name: object) -> object:
    """A column as a reader calls it, with its unit; any other name stays as it is."""
    text = str(name)
    if found := _PERCENTILE.fullmatch(text):
        latency, label, upper = found.groups()
        return f"{latency.upper()} {label}{' at most' if upper else ''}, ms"
    scores = {
        metric.name: metric.title
        for benchmark in BENCHMARKS.values()
        for metric in benchmark.task.scorer.by_sample
    }
    return (NAMES | scores).get(text, name)


def _number(value: float) -> str:
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
