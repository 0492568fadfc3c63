"""Runs' answers compared with the first run's, paired by sample."""

from collections.abc import Sequence

import pandas as pd

from loadgen_study.accuracy.paired import Difference
from loadgen_study.facts.scores import Estimate
from loadgen_study.prose import render
from loadgen_study.report.sections.accuracy import shown
from loadgen_study.runs.quality import AnswerComparison


def parts(runs: Sequence[AnswerComparison]) -> list[object]:
    """Table and text as parts of a section; nothing to show without runs."""
    return [table(runs), text(runs)]


def table(runs: Sequence[AnswerComparison]) -> pd.DataFrame:
    """The answers of each run compared with the first's, with 95 % intervals by sample."""
    rows = {}
    for run in runs:
        found = run.difference
        if found is None:
            rows[run.title] = {"": run.problem}
            continue
        rows[run.title] = {
            f"{found.metric.title}, points": "cannot be scored"
            if found.score is None
            else _changed(found.score, 2),
            "first choices, % points": _changed(found.agreement, 2, 100),
            "log-probability, nats a token": _changed(found.logprob, 4),
            "most changed": _most_changed(found),
        }
    if not rows:
        return pd.DataFrame()
    return (
        pd.DataFrame.from_dict(rows, orient="index")
        .fillna("")
        .rename_axis("Compared with the first")
    )


def text(runs: Sequence[AnswerComparison]) -> str:
    """How to read ``table``, and the two answers that differ most; empty without runs."""
    if not runs:
        return ""
    pairs = [
        (run.title, change, run.difference.metric)
        for run in runs
        if run.difference and (change := run.difference.most_changed)
    ]
    most = max(pairs, key=lambda pair: abs(pair[1].after - pair[1].before), default=None)
    return render("report/sections/answers", most=most)


def _most_changed(found: Difference) -> str:
    if (change := found.most_changed) is None:
        return "no answer" if found.score else "cannot be scored"
    return f"sample {change.sample_index}: {change.before:.1f} to {change.after:.1f}"


def _changed(estimate: Estimate | None, digits: int, scale: float = 1) -> str:
    """A difference, with * where its interval leaves 0 out."""
    if estimate is None:
        return "not scored"
    if estimate.low is None or estimate.high is None:
        return shown(estimate, digits, scale, "+")
    sure = estimate.low > 0 or estimate.high < 0
    return shown(estimate, digits, scale, "+") + ("*" if sure else "")
