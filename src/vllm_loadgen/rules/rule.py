"""One official rule as a run keeps it, in two wordings: the report's and the checker's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

Status = Literal["met", "departs", "not checked"]
# The rules whose note is a reservation: without the identity of data and weights nothing is called
# official.
IDENTITY, WEIGHTS = "Identity of the data", "Weights"


@dataclass(frozen=True)
class Complaint:
    """What MLCommons' submission checker says of a departure.

    Attributes:
        check: its name of the check. message: its words.
        closed_only: whether the open division is excused.
    """

    check: str
    message: str
    closed_only: bool = False


@dataclass(frozen=True)
class Rule:
    """A line of the conformance table.

    Attributes:
        note: why, or what to do.
        complaints: the checker's words for it; none where the checker does not look, or has
            nothing to refuse.
    """

    rule: str
    required: str
    actual: str
    status: Status
    note: str = ""
    complaints: tuple[Complaint, ...] = ()


def judged(
    rule: str, required: str, actual: str, met: bool | None, note: str = "", *found: Complaint
) -> Rule:
    """A rule that is met, departed from or (None) not checked; unless met, it is complained of."""
    status: Status = "not checked" if met is None else "met" if met else "departs"
    return Rule(rule, required, actual, status, note, () if met else found)


def table(rules: Sequence[Rule]) -> pd.DataFrame:
    """The rules as a frame to be shown: rule, required, actual, status, note."""
    names = ("rule", "required", "actual", "status", "note")
    return pd.DataFrame([[getattr(rule, name) for name in names] for rule in rules], columns=names)


def reservation(rules: Sequence[Rule]) -> str:
    """What a run that breaks no rule still cannot claim of its data and its weights; or nothing."""
    return "; ".join(rule.note for rule in rules if rule.rule in (IDENTITY, WEIGHTS) and rule.note)


def departures(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that the run breaks."""
    return [rule for rule in rules if rule.status == "departs"]
