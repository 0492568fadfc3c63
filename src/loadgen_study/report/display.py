"""What a notebook cell shows: tables as HTML, and sections of figure, sentence and table."""

import html
import math
import re
from collections.abc import Mapping
from itertools import zip_longest

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display
from markupsafe import Markup

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.words import significant, visible

# What a reader calls the columns of the tables that Python computes with.
NAMES = {
    "user_tokens_per_s": "one user's tokens/s",
    "user_p90_tokens_per_s": "one user's tokens/s (TPOT p90)", "passes": "passes over the data",
    "steady_tokens_per_s": "tokens/s, steady", "flat": "flat TPOT",
    "tokens_per_price": "tokens for a price of 1",
    "tokens_per_s_per_device": "tokens/s a device",
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
    "sample_index": "sample", "mean_running": "running, mean", "mean_waiting": "waiting, mean",
    "begin_s": "first step's end, s", "end_s": "last step's end, s",
}  # fmt: skip
SHARES = ("cv", "tokens_per_s_cv", "limit_share")  # shown as percent
# ttft_p90_ms, tpot_p99_upper_ms
_PERCENTILE = re.compile(r"(sent_)?(ttft|tpot)_(p\d+)(_upper)?_ms")
NOT_AVAILABLE = "n/a"
# 1,310  -0.3  +5.1 %  >= 36.4  551 (916)  99.7 % [98.7, 99.9]
_NUMBER = re.compile(
    r"(>= |<= )?[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?( ?%| s)?\*?( [\[(][-+\d,. %]+[\])])?\*?"
)


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


def named(rows: Mapping[str, object]) -> pd.DataFrame:
    """Names and values as a table."""
    return pd.DataFrame({"value": rows}, dtype=object).rename_axis("What")


def table(frame: pd.DataFrame) -> HTML:
    """A frame as an HTML table: the index as a column, numbers to three digits, to the right.

    An empty frame shows nothing.
    """
    if frame.empty:
        return HTML("")
    plain = frame.reset_index() if frame.index.name or frame.index.dtype == object else frame
    columns = []
    for name, values in plain.items():
        cells = [_cell(value, name in SHARES) for value in values]
        align = "right" if _numeric(cells) else "left"
        columns.append([_tag("th", str(column_title(name)), align)])
        columns[-1] += [_tag("td", cell, align) for cell in cells]
    head, *rows = ("<tr>" + "".join(row) + "</tr>" for row in zip(*columns, strict=True))
    body = "\n".join(rows)
    return HTML(
        f'<table class="dataframe">\n<thead>\n{head}\n</thead>\n<tbody>{body}</tbody>\n</table>'
    )


def _tag(name: str, text: str, align: str) -> str:
    # JupyterLab has its own alignment.
    shown = html.escape(visible(text), quote=False)
    return f'<{name} style="text-align: {align}">{shown}</{name}>'


def _numeric(cells: list[str]) -> bool:
    known = [cell for cell in cells if cell not in ("", NOT_AVAILABLE)]
    return bool(known) and all(map(_NUMBER.fullmatch, known))


def _cell(value: object, share: bool) -> str:
    """Ticks for truth values; whole numbers with separators, others to three digits."""
    if isinstance(value, bool | np.bool_):
        return "✓" if value else "✗"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        known = float(value)
        if math.isnan(known):
            return ""
        if share:
            return f"{significant(100 * known)} %"
        return f"{known:,.0f}" if known.is_integer() else significant(known)
    return "" if value is None or value is pd.NA else str(value)


def column_title(name: object) -> object:
    """A column as a reader calls it, with its unit; any other name stays as it is."""
    text = str(name)
    if found := _PERCENTILE.fullmatch(text):
        sent, latency, label, upper = found.groups()
        from_send = " from send" if sent else ""
        return f"{latency.upper()}{from_send} {label}{' bound' if upper else ''}, ms"
    scores = {
        metric.name: metric.title
        for benchmark in BENCHMARKS.values()
        for metric in benchmark.task.scorer.by_sample
    }
    return (NAMES | scores).get(text, name)
