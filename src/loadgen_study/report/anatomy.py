"""The anatomy of a test's steps in the report: sentences, table and figure."""

import pandas as pd

from loadgen_study.analysis.anatomy import Anatomy, NoAnatomy
from loadgen_study.analysis.roofline import say_share
from loadgen_study.report.figures.base import MOST_POINTS, thin
from loadgen_study.report.figures.machine import steps
from loadgen_study.words import count


def parts(found: Anatomy | NoAnatomy) -> list[object]:
    """All of it, in order; without an anatomy the reason alone."""
    if isinstance(found, NoAnatomy):
        return [f"The steps of this test cannot be set against the limits: {found.reason}."]
    return [text(found), table(found), steps(shown(found)), caption(found)]


def text(found: Anatomy) -> str:
    """The share of the limit of the whole test, and where the rest went."""
    said = (
        f"**The whole test, share of its limit: {say_share(found.share)}.** Its "
        f"{count(len(found.steps), 'step')} could have read their weights, keys and values and "
        f"computed their tokens in {_seconds(found.least_s)}, by the limits measured on this "
        f"machine; the test took {_seconds(found.whole_s)}. Of the rest, {_seconds(found.slow_s)} "
        f"went into steps beyond their least time, {_seconds(found.gap_s)} passed between steps "
        f"while a query was there, and for {_seconds(found.idle_s)} there was none."
    )
    if not found.gaps_told:
        said += (
            " How long a step took is not told here, as vLLM prepared each while it computed the "
            "one before: the time between two steps counts to the second."
        )
    if below := int((found.steps["duration_ms"] < found.steps["least_ms"]).sum()):
        said += (
            f" {count(below, 'step')} took less than their least time: the bandwidth is that of a "
            "copy, and reading from a cache is faster."
        )
    return said


def _seconds(value_s: float) -> str:
    return f"{value_s:,.1f} s"


def table(found: Anatomy) -> pd.DataFrame:
    """Where the time went, and how near each kind of step came to its limit."""
    steps, whole_s = found.steps, found.whole_s
    prefill = steps["prefill_tokens"] > 0
    rows = {
        "steps that decode alone": _row(steps[~prefill], whole_s),
        "steps with prefill": _row(steps[prefill], whole_s),
        "between steps, a query there": _time(found.gap_s, whole_s),
        "no query there": _time(found.idle_s, whole_s),
        "the whole test": _row(steps, whole_s) | _time(whole_s, whole_s),
    }
    rows["the whole test"]["of its limit"] = say_share(found.share)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Part").fillna("")


def _time(took_s: float, whole_s: float) -> dict[str, str]:
    return {"seconds": _seconds(took_s), "of the test": f"{took_s / whole_s:.0%}"}


def _row(of: pd.DataFrame, whole_s: float) -> dict[str, str]:
    """One kind of step."""
    took_s, least_s = of["duration_ms"].sum() / 1e3, of["least_ms"].sum() / 1e3
    row = _time(took_s, whole_s) | {
        "of its limit": say_share(least_s / took_s) if took_s else "",
        "steps": f"{len(of):,}",
    }
    if len(of):
        row |= {
            "mean, ms": f"{of['duration_ms'].mean():.3g}",
            "least, ms": f"{of['least_ms'].mean():.3g}",
            "prefill tokens a step": f"{of['prefill_tokens'].mean():,.0f}",
            "decode tokens a step": f"{of['decode_tokens'].mean():.1f}",
        }
    return row


def shown(found: Anatomy) -> pd.DataFrame:
    """The steps that are drawn: all, or as many of them evenly over the test."""
    return thin(found.steps, pd.Series(False, found.steps.index), MOST_POINTS)


def caption(found: Anatomy) -> str:
    """The sentence under the figure."""
    computing = found.steps["computing"].mean()
    text = (
        f"A step on the line took its least time. Memory bandwidth sets it for {1 - computing:.0%} "
        f"of the steps and the matrix rate for {computing:.0%}."
    )
    drawn = len(shown(found))
    if drawn < len(found.steps):
        text += f" Shown are {drawn:,} of {len(found.steps):,} steps, evenly over the test."
    return text
