"""One official rule as a run keeps it, in two wordings: the report's and the checker's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

Status = Literal["met", "not met", "not checked"]
# The rules whose note is a reservation: without the identity of data and weights nothing is called
# official.
IDENTITY, WEIGHTS = "Identity of the data", "Weights"
PERCENTILE = "Percentile of the limits"
SEED = "Seed "  # begins the name of each seed's rule


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
    status: Status = "not checked" if met is None else "met" if met else "not met"
    return Rule(rule, required, actual, status, note, () if met else found)


def table(rules: Sequence[Rule]) -> pd.DataFrame:
    """The rules as a frame to be shown; seeds that are all met are one line."""
    seeds = [rule for rule in rules if rule.rule.startswith(SEED)]
    if seeds and all(rule.status == "met" for rule in seeds):
        first = rules.index(seeds[0])
        one = Rule("Seeds", "LoadGen's official", "the official", "met")
        rules = [*rules[:first], one, *(rule for rule in rules[first:] if rule not in seeds)]
    columns = {"rule": "Rule", "required": "Required", "actual": "This run", "status": "Status",
               "note": "Note"}  # fmt: skip
    frame = pd.DataFrame([[getattr(rule, name) for name in columns] for rule in rules])
    return frame.set_axis(list(columns.values()), axis=1) if rules else pd.DataFrame()


def reservation(rules: Sequence[Rule]) -> str:
    """What a run that breaks no rule still cannot claim of its data and its weights; or nothing."""
    return "; ".join(rule.note for rule in rules if rule.rule in (IDENTITY, WEIGHTS) and rule.note)


def departures(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that the run breaks."""
    return [rule for rule in rules if rule.status == "not met"]


def unchecked(rules: Sequence[Rule]) -> list[Rule]:
    """The rules of which it is not known whether the run keeps them."""
    return [rule for rule in rules if rule.status == "not checked"]
