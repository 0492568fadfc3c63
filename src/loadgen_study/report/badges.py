"""Verdicts in a few words: on speed, on the answers, and on the run as an MLPerf result."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from loadgen_study.findings.answers import loss
from loadgen_study.findings.overload import overloaded
from loadgen_study.findings.queries import broken_limits, early_stopping
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.rule import Rule, departures, reservation, standing, unchecked, undecided
from loadgen_study.rules.verdict import effective_verdict

Kind = Literal["good", "open", "bad", "plain"]


class Badge(NamedTuple):
    """A verdict in a few words."""

    text: str
    kind: Kind = "plain"


def speed(run: Run) -> Badge:
    """LoadGen's verdict, and why it is not VALID."""
    if (test := run.performance) is None:
        return Badge("Speed: not measured")
    verdict = effective_verdict(test)
    if not test.result.complete:
        return Badge(f"LoadGen: no verdict (test {test.result.status})", "bad")
    if verdict.status == "VALID":
        return Badge("LoadGen: VALID", "good")
    why = verdict.why or ", ".join(not_met(test))
    return Badge(f"LoadGen: {verdict.status}{f' ({why})' if why else ''}", "bad")


def not_met(test: Test) -> list[str]:
    """LoadGen's conditions that do not hold."""
    log, broken = test.result.loadgen_results, broken_limits(test)
    too_few = log.min_queries_met is False or (not broken and early_stopping(test) is not None)
    conditions = {
        "overloaded": overloaded(test),
        f"over the {named(broken)} limit": bool(broken),
        "too short": log.min_duration_met is False,
        "too few queries": too_few,
    }
    return [name for name, fails in conditions.items() if fails]


def quality(run: Run) -> Badge:
    """The verdict on the answers: a FAIL, else what teacher forcing decides, else the scorer's."""
    if run.accuracy is None:
        return Badge("Quality: not tested")
    status, found = run.accuracy.verdict.status, loss(run)
    if status == "FAIL":
        return Badge(f"Quality: {run.task.scorer.title} FAIL", "bad")
    if found == "some":
        return Badge("Quality: loss measured", "open")
    if found == "none":
        return Badge("Quality: no measurable loss", "good")
    if status == "PASS":
        return Badge("Quality: PASS", "good")
    if status == "NO BASELINE":
        return Badge("Quality: not judged (no matching baseline)")
    return Badge("Quality: undecided", "open")


def as_a_result(rules: Sequence[Rule]) -> list[Badge]:
    """Whether the run may be named with MLPerf, by MLCommons' messaging guidelines."""
    if not rules:
        return []
    if departures(rules):
        return [Badge(standing(rules))]
    reasons = joined(open_rules(rules), reservation(rules))
    return [Badge(f"Unverified{f' ({reasons})' if reasons else ''}", "open")]


def open_rules(rules: Sequence[Rule]) -> str:
    """How many rules are neither met nor broken."""
    known = {"not checked": len(unchecked(rules)), "undecided": len(undecided(rules))}
    return joined(*(f"{number} {name}" for name, number in known.items() if number))


def named(limits: Sequence[str]) -> str:
    """Limits in a sentence: "TTFT and TPOT"."""
    return " and ".join(name.upper() for name in limits)


def joined(*notes: str) -> str:
    """Notes on one line, without empty ones."""
    return "; ".join(filter(None, notes))
