"""Is a run worse than another? One decision on its speed and its answers, and an exit status.

Two runs that are there are compared as they are. Two settings are measured in turn until the gate
decides, or a budget ends. The order is A B B A A B B A, so that a machine that slows down with time
slows both. The gate looks only after some of the pairs, with intervals wide enough to bound false
alarms over all looks (``decision.confidence_of``).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

from loadgen_study.analysis.decision import (
    CONFIDENCE,
    Decision,
    Outcome,
    confidence_of,
    decide,
    judge,
)
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.params import RunParams
from loadgen_study.results.run import Run, repeat_name
from loadgen_study.results.test import Test
from loadgen_study.runs.compare import digest, obstacle
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.quality import compare_answers
from loadgen_study.runs.repeats import measure, mixed_order
from loadgen_study.words import count, percent, say_duration
from vllm_loadgen.errors import ParameterError

# The exit status by the outcome, worst first: the worst of all metrics decides.
EXIT_STATUS: dict[Outcome, int] = {"worse": 10, "cannot tell": 11, "better": 0, "same": 0}
LOOKS = (3, 5, 8, 12)  # pairs of tests after which the gate looks
SIDES = ("base", "new")
SCORE = "score"
BOTH = "give runs that measured it"


def _p90(name: str, test: Test) -> float:
    return percentile(test.latencies[name], 0.9)


# By name: the figure of a test, and whether more is better. ``SCORE`` is of the answers of a run.
FIGURES: dict[str, tuple[Callable[[Test], float], bool]] = {
    "tokens_per_s": (lambda test: test.metrics.tokens_per_s, True),
    "ttft_p90": (partial(_p90, "ttft_ms"), False),
    "tpot_p90": (partial(_p90, "tpot_ms"), False),
    "goodput": (lambda test: test.metrics.samples_per_s * test.kept_share, True),
}
METRICS = (*FIGURES, SCORE)


@dataclass(frozen=True)
class Gate:
    """The decision, and the one on each metric by its name."""

    outcome: Outcome
    metrics: dict[str, Decision]
    margin: float

    @property
    def status(self) -> int:
        """The exit status: 0 for better or the same, 10 for worse, 11 for cannot tell."""
        return EXIT_STATUS[self.outcome]

    def lines(self) -> list[str]:
        """A line for each metric, and the decision."""
        shown = [f"{name}: {_said(name, found)}" for name, found in self.metrics.items()]
        deciding = [name for name, one in self.metrics.items() if one.outcome == self.outcome]
        ends = {
            "better": f"Better: {', '.join(deciding)}; nothing is worse.",
            "same": f"The same within {percent(self.margin, 1)}.",
            "worse": f"Worse by more than {percent(self.margin, 1)}: {', '.join(deciding)}.",
            "cannot tell": f"Cannot tell: {', '.join(deciding)}.",
        }
        return [*shown, ends[self.outcome]]


def gate(
    base: Run,
    new: Run,
    margin: float,
    names: Sequence[str] = (),
    confidence: float = CONFIDENCE,
) -> Gate:
    """Decide whether a run is worse than another.

    Args:
        margin: the share by which it may be worse, 0 to 1. names: of ``METRICS``; all that both
            runs have, if empty. confidence: of the interval of a figure of speed.

    Raises:
        ParameterError: if the runs may not be compared, or have no metric or not a named one in
            common.
    """
    if problem := obstacle(digest(base), digest(new)):
        raise ParameterError(
            "NEW", new.display_path(), f"has {problem} than BASE", "compare equals"
        )
    found = {}
    for name in names or METRICS:
        if name == SCORE:
            decision = _scores(base, new, margin)
        else:
            decision = _speed(base, new, margin, name, confidence)
        if decision is not None:
            found[name] = decision
        elif names:
            cure = f"leave it out, or {BOTH}"
            raise ParameterError("--metric", name, "is not in both runs", cure)
    if not found:
        raise ParameterError("NEW", new.display_path(), "shares no figure with BASE", BOTH)
    outcomes = {one.outcome for one in found.values()}
    return Gate(next(one for one in EXIT_STATUS if one in outcomes), found, margin)


def _speed(base: Run, new: Run, margin: float, name: str, confidence: float) -> Decision | None:
    figure, more_is_better = FIGURES[name]
    one, two = (
        [figure(test) for test in run.repeats("performance").values()] for run in (base, new)
    )
    if not one or not two or not min(*one, *two) > 0:
        return None
    return decide(one, two, margin, confidence, higher_is_better=more_is_better)


def _scores(base: Run, new: Run, margin: float) -> Decision | None:
    """By the same samples in pairs; one accuracy test of each is enough."""
    compared = compare_answers([(run.folder.name, run) for run in (base, new)])
    found = compared[0].difference.score if compared and compared[0].difference else None
    score = base.score
    if found is None or not score:
        return None
    low, high = (math.nan if end is None else end / score for end in (found.low, found.high))
    if found.value == 0 and math.isnan(low):  # every answer is the same
        low = high = 0.0
    # NaN gives "cannot tell".
    return Decision(judge(low, high, -margin), found.value / score, low, high)


def _said(name: str, found: Decision) -> str:
    said = f"{found.outcome}, {found}"
    if math.isnan(found.low):
        return f"{said}; {'too few samples' if name == SCORE else 'single runs: repeats 3'}"
    return said + (f"; {found.more_runs} more runs of each would tell" if found.more_runs else "")


# Measured until it is known ---------------------------------------------------------------------
def measure_and_gate(
    given: Sequence[RunParams],
    margin: float,
    names: Sequence[str] = (),
    budget_s: float = 3600,
) -> Gate:
    """Measure two settings until the gate decides; prints a line at each look.

    Tests that were finished before are reused.

    Args:
        given: the parameters of the base, and of the setting that is compared with it. Both are
            tested at the base's rate.
        margin, names: as for ``gate``.
        budget_s: no tests are begun that would end later.

    Raises:
        ParameterError: if the budget is too short for the fewest pairs, after the first test.
        BenchmarkError: as ``LiveRun.once`` and ``gate``; what was measured is kept.
    """
    begin, scored = time.monotonic(), not names or SCORE in names
    sides = [
        params.changed(run_name=f"{params.run_name or 'gate'}-{side}", repeats=1)
        for params, side in zip(given, SIDES, strict=True)
    ]
    speed = [name for name in names or METRICS if name != SCORE]
    confidence = confidence_of(len(LOOKS), max(len(speed), 1))
    folders = [Path(), Path()]
    for made, look in pairwise((0, *LOOKS)):
        if made and (time.monotonic() - begin) * look / made > budget_s:
            print(f"{count(look, 'pair')} would take more than {say_duration(budget_s)}")
            break
        for side, numbers in visits(made, look):
            folders[side], rate, each_s = _visit(sides[side], numbers, scored)
            sides[1] = sides[1].changed(target_qps=rate)
            least_s = time.monotonic() - begin + (2 * LOOKS[0] - 1) * each_s
            if (side, numbers[0]) == (0, 1) and each_s and least_s > budget_s:
                problem = f"is too short: {LOOKS[0]} pairs take at least {say_duration(least_s)}"
                raise ParameterError("--budget-s", f"{budget_s:g}", problem, "give more")
        base, new = (Run.open(folder) for folder in folders)
        found = gate(base, new, margin, names, confidence)
        took = say_duration(time.monotonic() - begin)
        print(f"{count(look, 'pair')} in {took}: {found.outcome}")
        if found.outcome != "cannot tell":
            break
    return found


def visits(made: int, wanted: int) -> list[tuple[int, list[int]]]:
    """The tests that bring ``made`` pairs to ``wanted``, in their order.

    Returns:
        visits: the side (0 base, 1 new) and the numbers of its next tests, with one loaded engine.
    """
    turns = [turn for turn in mixed_order((0, 1), wanted) if turn[1] > made]
    return [
        (side, [number for _, number in group]) for side, group in groupby(turns, itemgetter(0))
    ]


def _visit(params: RunParams, numbers: Sequence[int], scored: bool) -> tuple[Path, float, float]:
    """Run tests of one setting; returns the run's folder, the rate, and the seconds of its first
    test, 0 if that was finished before."""
    with LiveRun.start(params) as live:
        if scored and live.read().accuracy is None:
            live.once("accuracy", "accuracy")
            live.score()
        known = live.read().finished("performance")
        first = measure(live)
        rate = first.params.rate
        for number in numbers:
            live.once(repeat_name("performance", number), target_qps=rate)
    return live.folder, rate, 0.0 if known else first.result.duration_s
