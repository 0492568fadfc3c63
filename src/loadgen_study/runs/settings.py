"""The settings that a tuning measured, and which of them are refused however fast they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen_study.accuracy.paired import Difference
from loadgen_study.facts.scores import Variant
from loadgen_study.findings.queries import broken_limits
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.conformance import engine_departures
from loadgen_study.rules.verdict import effective_verdict
from loadgen_study.runs.quality import compare_answers
from loadgen_study.runs.tuning import BASELINES, SEARCH, variant_of, variants
from loadgen_study.words import listed

BASE = BASELINES[0]


@dataclass(frozen=True)
class Setting:
    """A measured setting: its tests in their order, and why it is refused (empty if it is not)."""

    variant: Variant
    folder: Path
    tests: Sequence[Test]
    refused: str

    @property
    def title(self) -> str:
        """Its changes in a few words; ``BASE`` of the run as it is."""
        return self.variant.title


def settings_of(run: Run) -> list[Setting]:
    """The settings of a run's tuning by objective; the run as it is comes first."""
    planned = {BASE, *(variant_of(changes).title for changes in run.params.tune_settings)}
    opened = [(one, Run.open(path)) for one, path in variants(run.folder) if one.title in planned]
    opened.sort(key=lambda each: each[0].title != BASE)
    compared = compare_answers([(one.title, tuned) for one, tuned in opened])
    answers = {one.title: one.difference for one in compared}
    found: list[Setting] = []
    for variant, tuned in opened:
        tests, base = _tests(tuned), found[0] if found else None
        problem = variant.problem or ("" if tests else "no test")
        refused = f"not measured: {problem}" if problem else _broken(run, tests, base)
        if base and not refused:
            refused = _lost_rules(tuned, base) or worse_answers(answers.get(variant.title))
            if run.params.tune_accuracy and answers.get(variant.title) is None:
                refused = refused or "its answers could not be compared"
        found.append(Setting(variant, tuned.folder, tests, refused))
    return found


def _tests(tuned: Run) -> list[Test]:
    """The tests of a setting in their order; of each search for a rate, its final test."""
    if tuned.params.tune_objective != "valid_qps":
        return list(tuned.repeats("performance").values())
    searches = [tuned, *map(Run.open, sorted(tuned.folder.glob(f"{SEARCH}*")))]
    return [one.test("performance") for one in searches if one.finished("performance")]


def _broken(run: Run, tests: Sequence[Test], base: Setting | None) -> str:
    """The limits that a test breaks, or its verdict where all of the base's are VALID.

    Goodput counts the queries within the limits: where the base breaks one, others may.
    """
    own = base.tests if base else ()
    counted = run.params.tune_objective == "goodput" and (not own or any(map(broken_limits, own)))
    broken = sorted({name.upper() for test in tests for name in broken_limits(test)})
    if broken and not counted:
        return f"breaks its limit on {' and '.join(broken)}"
    if not own or any(effective_verdict(test).status != "VALID" for test in own):
        return ""
    verdicts = map(effective_verdict, tests)
    return next((one.text for one in verdicts if one.status != "VALID"), "")


def _lost_rules(tuned: Run, base: Setting) -> str:
    own = {rule.title for rule in engine_departures(Run.open(base.folder))}
    lost = [rule.title for rule in engine_departures(tuned) if rule.title not in own]
    return f"breaks a rule: {listed(lost)}" if lost else ""


def worse_answers(found: Difference | None) -> str:
    """How the answers are worse than the base's beyond the 95 % interval; empty if they are not."""
    if found is None:
        return ""
    figures = [
        (found.score, found.metric.title, 1, "points"),
        (found.agreement, "first choices", 100, "% points"),
    ]
    for one, name, scale, unit in figures:
        if one and one.low is not None and one.high is not None and one.high < 0:
            value, low, high = (f"{end * scale:+.2f}" for end in (one.value, one.low, one.high))
            return f"worse answers: {name} {value} [{low}, {high}] {unit}"
    return ""
