"""One official rule as a run keeps it, in two wordings: the report's and the checker's."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from loadgen_study.params import RunParams
from loadgen_study.results.run import Run
from loadgen_study.words import count
from vllm_loadgen.harness import loadgen
from vllm_loadgen.records.result import Result

# What a rule is about: the task, LoadGen's settings, the engine's settings, or the result.
Part = Literal["task", "loadgen", "engine", "outcome"]
# Ids that are looked up. A note on data or weights is a reservation: a run is called official only
# if both are identified.
IDENTITY, WEIGHTS, PERCENTILE = "data-identity", "weights", "percentile"
NOT_VERIFIED = "Result not verified by MLCommons Association"
SEEDS = {
    "qsl_rng_seed": "seed-qsl",
    "sample_index_rng_seed": "seed-sample-index",
    "schedule_rng_seed": "seed-schedule",
}


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
        met: None if that is not known.
        note: why, or what to do.
        complaints: the checker's words for it; none where the checker does not look, or has
            nothing to refuse.
        undecided: whether it was checked, and the data do not decide it.
        part: ``conformance.judge`` fills it in.
    """

    id: str
    title: str
    required: str
    actual: str
    met: bool | None
    note: str = ""
    complaints: tuple[Complaint, ...] = ()
    undecided: bool = False
    part: Part = "outcome"

    @property
    def status(self) -> str:
        """Whether it is met, as a reader sees it."""
        if self.met is None:
            return "undecided" if self.undecided else "not checked"
        return "met" if self.met else "not met"


@dataclass(frozen=True)
class Case:
    """A run that is judged, and its tests by their result.json, or by their logs, read again."""

    run: Run
    performance: Result
    accuracy: Result | None = None

    @property
    def params(self) -> RunParams:
        """Those of the run."""
        return self.run.params

    def seen(self, rule: Rule, why_not: str, actual: str = "the server's") -> Rule:
        """The rule as it is; where a server runs already, that it is not known, and why."""
        if self.params.engine_traits.started_here:
            return rule
        return replace(rule, actual=actual, met=None, note=why_not)

    @cached_property
    def official(self) -> Any:
        """LoadGen's official settings (``mlperf_loadgen.TestSettings``)."""
        return loadgen.official_settings(self.params)


Judge = Callable[[Case], Iterable[Rule]]
JUDGES: list[tuple[Part, Judge]] = []


def judges(part: Part) -> Callable[[Judge], Judge]:
    """Register a function that judges rules of a part, as far as they apply to a run."""

    def register(judge: Judge) -> Judge:
        JUDGES.append((part, judge))
        return judge

    return register


def at_least(
    id: str, title: str, actual: float | None, least: float, *found: Complaint, unit: str = ""
) -> Rule:
    """A rule that requires a least value; ``found`` are its complaints unless it is met."""
    met = None if actual is None else actual >= least
    required = f">= {least:g}{unit}"
    return Rule(id, title, required, shown(actual, unit), met, "", () if met else found)


def equal(
    id: str, title: str, actual: object, required: object, *found: Complaint, note: str = ""
) -> Rule:
    """A rule that requires one value; ``found`` are its complaints unless it is met."""
    met = None if actual is None else actual == required
    return Rule(id, title, shown(required), shown(actual), met, note, () if met else found)


def shown(value: object, unit: str = "") -> str:
    """A value as text for the table."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def table(rules: Sequence[Rule]) -> pd.DataFrame:
    """The rules as a frame to be shown; seeds that are all met are one line."""
    seeds = [rule for rule in rules if rule.id in SEEDS.values()]
    if seeds and all(rule.met for rule in seeds):
        first = rules.index(seeds[0])
        one = Rule("seeds", "Seeds", "LoadGen's official", "the official", True)
        rules = [*rules[:first], one, *(rule for rule in rules[first:] if rule not in seeds)]
    columns = {"title": "Rule", "required": "Required", "actual": "This run", "status": "Status",
               "note": "Note"}  # fmt: skip
    named = columns.items()
    return pd.DataFrame([{title: getattr(rule, name) for name, title in named} for rule in rules])


def reservation(rules: Sequence[Rule]) -> str:
    """What is not known of a run's data and weights, even if no rule is broken; or nothing."""
    return "; ".join(rule.note for rule in rules if rule.id in (IDENTITY, WEIGHTS) and rule.note)


def departures(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that the run breaks."""
    return [rule for rule in rules if rule.met is False]


def standing(rules: Sequence[Rule]) -> str:
    """How a run may be named with MLPerf, as MLCommons' messaging guidelines ask."""
    broken = departures(rules)
    return f"Not an MLPerf result: {count(len(broken), 'rule')} not met" if broken else NOT_VERIFIED


def unchecked(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that were not checked."""
    return [rule for rule in rules if rule.met is None and not rule.undecided]


def undecided(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that were checked, and that the data do not decide."""
    return [rule for rule in rules if rule.undecided]
