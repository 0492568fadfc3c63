"""The anatomy of a test's steps in the report: sentences, tables and figure."""

import pandas as pd

from loadgen_study.analysis.anatomy import Anatomy, NoAnatomy
from loadgen_study.analysis.counted_steps import CountedSteps
from loadgen_study.analysis.roofline import say_share
from loadgen_study.prose import render
from loadgen_study.report.figures.base import MOST_POINTS, thin
from loadgen_study.report.figures.machine import steps
from loadgen_study.words import fixed, percent, significant


def parts(found: Anatomy | NoAnatomy, counted: CountedSteps | None = None) -> list[object]:
    """All of it, in order; without an anatomy the reason, and what a server's counters say."""
    if isinstance(found, NoAnatomy):
        return [text(found, counted)]
    drawn = steps(shown(found))
    return [text(found), time_table(found), steps_table(found), drawn, caption(found)]


def text(found: Anatomy | NoAnatomy, counted: CountedSteps | None = None) -> str:
    """The share of the limit that the whole test reaches; or why it is not known."""
    if isinstance(found, NoAnatomy):
        return render("report/sections/anatomy", why_not=found.reason, counted=counted)
    below = int((found.steps["duration_ms"] < found.steps["least_ms"]).sum())
    return render(
        "report/sections/anatomy",
        why_not="",
        found=found,
        share=say_share(found.share),
        below=below,
    )


def time_table(found: Anatomy) -> pd.DataFrame:
    """Where the time of the test went."""
    prefill = found.steps["prefill_tokens"] > 0
    stepped_s = found.steps["duration_ms"] / 1e3
    seconds = {
        "decode-only steps": stepped_s[~prefill].sum(),
        "steps with prefill": stepped_s[prefill].sum(),
        "between steps": found.gap_s,
        "idle": found.idle_s,
        "whole test": found.whole_s,
    }
    rows = {
        name: {"seconds": fixed(took_s), "of the test": percent(took_s / found.whole_s)}
        for name, took_s in seconds.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Part")


def steps_table(found: Anatomy) -> pd.DataFrame:
    """How near each kind of step came to its limit; kinds without a step are left out."""
    prefill = found.steps["prefill_tokens"] > 0
    kinds = {
        "decode only": found.steps[~prefill],
        "with prefill": found.steps[prefill],
        "all": found.steps,
    }
    rows = {name: _row(of) for name, of in kinds.items() if len(of)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Steps")


def _row(of: pd.DataFrame) -> dict[str, object]:
    return {
        "steps": len(of),
        "of their limit": say_share(of["least_ms"].sum() / of["duration_ms"].sum()),
        "mean, ms": significant(of["duration_ms"].mean()),
        "least, ms": significant(of["least_ms"].mean()),
        "prefill tokens a step": significant(of["prefill_tokens"].mean()),
        "decode tokens a step": fixed(of["decode_tokens"].mean()),
    }


def shown(found: Anatomy) -> pd.DataFrame:
    """The steps that are drawn: all, or as many of them evenly over the test."""
    return thin(found.steps, pd.Series(False, found.steps.index), MOST_POINTS)


def caption(found: Anatomy) -> str:
    """The sentence under ``steps``."""
    return render(
        "report/sections/anatomy_caption",
        computing=found.steps["computing"].mean(),
        drawn=len(shown(found)),
        steps=len(found.steps),
    )
