"""What a notebook cell shows: tables as HTML, and sections of figure, sentence and table."""

import html
import re
from itertools import zip_longest

import pandas as pd
from IPython.display import HTML, Markdown, display

from loadgen_study.report.columns import called
from vllm_loadgen.words import visible


class Section:
    """Parts that are shown one under the other; nothing at all where there is nothing to show.

    Args:
        parts: text (Markdown), frames (shown as tables) and whatever else a notebook displays;
            empty ones and None are left out. The text after a figure is its caption, and what is
            read out in its place.
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


def _number(value: float) -> str:
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
