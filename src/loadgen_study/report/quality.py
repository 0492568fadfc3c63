"""Answers against the reference engine's, and against other runs': tables and sentences."""

from collections.abc import Sequence

import pandas as pd

from loadgen_study.accuracy.paired import Difference
from loadgen_study.facts.scores import Estimate, Fidelity
from loadgen_study.prose import plain
from loadgen_study.report import tables, text
from loadgen_study.report.display import Section
from loadgen_study.results.run import Run
from loadgen_study.runs.quality import AnswerComparison
from loadgen_study.words import count

# Measured on CPUs in November 2026, on the embedded model and all 64 samples (7,901 tokens).
EXPECTED = (
    "What to expect between two engines: on the embedded model and data vLLM in float32 chose all "
    "tokens of the reference, in bfloat16 98.7 % of them, with no loss of likelihood that could be "
    "measured. A loss of quality shows as fewer, with a difference of the log-probabilities below "
    "0 by more than its interval."
)


def accuracy(run: Run) -> Section:
    """What the answers are worth: the score with its verdict, and the reference token by token."""
    return Section(
        text.accuracy_text(run),
        tables.accuracy_table(run),
        fidelity_text(run),
        fidelity_table(run),
    )


def beside_parts(runs: Sequence[AnswerComparison]) -> list[object]:
    """Runs' answers compared with the first's, as parts of a section; nothing without any."""
    return [beside_table(runs), beside_text(runs)]


def fidelity_table(run: Run) -> pd.DataFrame:
    """Agreement with the reference engine, with 95 % intervals; empty if it is not known."""
    found = run.accuracy.fidelity if run.accuracy else None
    if found is None:
        return pd.DataFrame()
    rows = {"identical answers": f"{found.identical} of {found.answers}"}
    if found.same_tokens_median is not None:
        rows["the others part after, tokens (median)"] = f"{found.same_tokens_median:g}"
    if found.agreement and found.logprob_difference:
        rows["tokens of the reference's answers"] = f"{found.forced_tokens:,}"
        rows["of them the engine's first choice, %"] = shown(found.agreement, 2, 100)
        rows["log-probability, nats a token"] = shown(found.logprob_difference, 4, sign="+")
        rows["to ask for it took, s"] = f"{found.duration_s:.0f}"
    return pd.DataFrame({"value": rows}).rename_axis("Against the reference engine")


def fidelity_text(run: Run) -> str:
    """What the reference's own answers tell of the engine; empty without an accuracy test."""
    if run.accuracy is None:
        return ""
    found = run.accuracy.fidelity
    if found is None:
        why = run.accuracy.no_fidelity
        return f"The answers were not compared token by token: {plain(why)}." if why else ""
    if found.problem:
        return f"The reference's answers were not scored: {plain(found.problem)}."
    if found.agreement is None or found.logprob_difference is None:
        return ""
    return (
        f"Given {_forced(found)} of the reference engine token by token, this engine "
        f"would choose {shown(found.agreement, 2, 100)} % of the {found.forced_tokens:,} tokens as "
        f"well, and its log-probability of them differs by "
        f"{shown(found.logprob_difference, 4, sign='+')} nats a token (95 % intervals over "
        f"answers). {EXPECTED}"
    )


def _forced(found: Fidelity) -> str:
    """How many of the reference's answers the engine was given."""
    if found.forced_answers == found.answers:
        return f"the {count(found.answers, 'answer')}"
    return f"{found.forced_answers} of the {found.answers} answers (there was no time for more)"


def beside_table(runs: Sequence[AnswerComparison]) -> pd.DataFrame:
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


def beside_text(runs: Sequence[AnswerComparison]) -> str:
    """How to read ``beside_table``, and the two answers that differ most; empty without any."""
    if not runs:
        return ""
    read = (
        "The same samples paired, in brackets 95 % intervals: * marks a difference that is no "
        "chance."
    )
    pairs = [
        (abs(change.after - change.before), run.title, change, run.difference.metric)
        for run in runs
        if run.difference and (change := run.difference.most_changed)
    ]
    if not pairs:
        return read
    _, title, change, metric = max(pairs, key=lambda pair: pair[0])
    return (
        f"{read} The answer that changed most is {plain(title)}'s to sample {change.sample_index}, "
        f"of {metric.title} {change.before:.1f} before and {change.after:.1f} after.\n\n"
        f"> Before: {plain(change.answer_before)}\n>\n> After: {plain(change.answer_after)}"
    )


def _most_changed(found: Difference) -> str:
    if (change := found.most_changed) is None:
        return "no answer" if found.score else "cannot be scored"
    return f"sample {change.sample_index}: {change.before:.1f} to {change.after:.1f}"


def _changed(estimate: Estimate | None, digits: int, scale: float = 1) -> str:
    """A difference, with * where its interval leaves 0 out."""
    if estimate is None:
        return "not asked"
    if estimate.low is None or estimate.high is None:
        return shown(estimate, digits, scale, "+")
    sure = estimate.low > 0 or estimate.high < 0
    return shown(estimate, digits, scale, "+") + ("*" if sure else "")


def shown(estimate: Estimate, digits: int, scale: float = 1, sign: str = "") -> str:
    """A figure with its interval in brackets."""
    low, high = estimate.low, estimate.high
    value = f"{estimate.value * scale:{sign}.{digits}f}"
    if low is None or high is None:
        return value
    return f"{value} [{low * scale:{sign}.{digits}f}, {high * scale:{sign}.{digits}f}]"
