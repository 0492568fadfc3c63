"""The answers against the reference engine's: scores with their verdict, and token by token."""

import json
import re

import pandas as pd
from markupsafe import Markup

from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Comparison, Estimate, Fidelity
from loadgen_study.findings.answers import loss, said
from loadgen_study.prose import render
from loadgen_study.report.display import Section, table
from loadgen_study.results.run import Run
from loadgen_study.scorers.scorer import NOT_SCORED, UNDECIDED, Scorer
from loadgen_study.words import fixed, percent, significant

STRICT = 0.999  # MLPerf's other level of accuracy
EXAMPLES = "examples.json"  # in the accuracy test's folder
DECIMALS = re.compile(r"\d+\.\d+")  # 36.3767


def section(run: Run) -> Section:
    """The whole section; empty without an accuracy test."""
    if (found := run.accuracy) is None:
        return Section()
    return Section(
        render("report/sections/accuracy", verdict=found.verdict, said=said(run)),
        scores_table(found, run.task.scorer),
        fidelity_text(found, loss(run)),
        fidelity_table(found.fidelity),
        examples(run),
    )


def scores_table(accuracy: Accuracy, scorer: Scorer) -> pd.DataFrame:
    """Each accuracy metric against its limits; the score alone without a baseline."""
    verdict = accuracy.verdict
    titles = {metric.name: metric.title for metric in scorer.metrics}
    if not verdict.comparisons:
        found, counts = accuracy.score.items(), (NOT_SCORED.name, UNDECIDED.name)
        score = {name: _score(value) for name, value in found if value or name not in counts}
        return pd.DataFrame({"actual": score}).rename(index=titles).rename_axis("Metric")
    rows = {
        row.metric: {
            "actual": _score(row.actual),
            "reference": _score(row.reference),
            "ratio": percent(row.ratio, 1) if row.decides else "not known",
            "required": DECIMALS.sub(_rounded, row.required) if row.decides else "not known",
            f"met at {scorer.main.needed}": _met(verdict, row, row.met, scorer.main.lower),
            "met at 99.9 %": _met(verdict, row, row.met_99_9, STRICT),
        }
        for row in verdict.comparisons
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename(index=titles).rename_axis("Metric")


def _met(verdict: AccuracyVerdict, row: Comparison, met: bool, needed: float | None) -> bool | str:
    """Whether a limit is met; "undecided" where the interval of the ratio holds it."""
    if not row.decides:
        return "not decided"
    if verdict.status != "INCONCLUSIVE" or row.ratio_low is None or row.ratio_high is None:
        return met
    return "undecided" if needed and row.ratio_low < needed <= row.ratio_high else met


def _score(value: float) -> str:
    return fixed(value, 0 if float(value).is_integer() else 1)


def _rounded(number: re.Match[str]) -> str:
    return significant(float(number[0]))


def fidelity_text(accuracy: Accuracy, measured: str) -> str:
    """How many of the reference's answers were forced, and whether quality was lost."""
    found = accuracy.fidelity
    return render(
        "report/sections/fidelity",
        found=found,
        why_not=accuracy.no_fidelity,
        forced=found is not None and found.agreement is not None,
        loss=measured,
    )


def fidelity_table(found: Fidelity | None) -> pd.DataFrame:
    """Agreement with the reference engine, with 95 % intervals over answers; empty if unknown."""
    if found is None:
        return pd.DataFrame()
    rows = {}
    if found.identical is not None:
        rows["identical answers"] = f"{found.identical} of {found.answers}"
    if found.same_tokens_median is not None:
        rows["first divergence, tokens (median)"] = f"{found.same_tokens_median:g}"
    if found.agreement and found.logprob_difference:
        rows["next-token agreement, %"] = shown(found.agreement, 2, 100)
        rows["log-probability difference, nats a token"] = shown(
            found.logprob_difference, 4, sign="+"
        )
        rows["scoring time, s"] = fixed(found.duration_s, 0)
    return pd.DataFrame({"value": rows}).rename_axis("Against the reference engine")


def examples(run: Run) -> Markup | None:
    """One answer of each kind (best, middle, worst) with its text and reference, folded, HTML."""
    path = run.folder / "accuracy" / EXAMPLES
    if not path.is_file():
        return None
    try:
        found = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
        kinds = found.drop_duplicates("kind").rename(columns={"kind": "Score", "summary": "answer"})
    except (ValueError, KeyError):
        return None  # somebody edited the file; no figure is lost
    rows = table(kinds.set_index("Score").round(1)).data
    title = f"{len(kinds)} answers with their references"
    return Markup(f"<details><summary>{title}</summary>{rows}</details>")


def shown(estimate: Estimate, digits: int, scale: float = 1, sign: str = "") -> str:
    """A figure with its interval in brackets."""
    low, high = estimate.low, estimate.high
    value = f"{estimate.value * scale:{sign}z.{digits}f}"
    if low is None or high is None:
        return value
    return f"{value} [{low * scale:{sign}z.{digits}f}, {high * scale:{sign}z.{digits}f}]"
