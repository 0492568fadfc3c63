"""Measures two settings in turn until the gate decides, or a budget ends.

The order is A B B A A B B A, so that a machine that slows down with time slows both. The gate looks
only after some of the pairs, with intervals wide enough to bound false alarms over all looks
(``decision.confidence_of``).
"""

import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from loadgen_study.analysis.decision import CONFIDENCE, confidence_of
from loadgen_study.params import RunParams
from loadgen_study.results.run import Run, repeat_name
from loadgen_study.runs.gate import METRICS, SCORE, Gate, gate
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.repeats import measure, mixed_order
from loadgen_study.words import count, say_duration

# Pairs of tests after which the gate looks.
LOOKS = (3, 5, 8, 12)
SIDES = ("base", "new")


def measure_and_gate(
    given: Sequence[RunParams],
    margin: float,
    names: Sequence[str] = (),
    budget_s: float = 3600,
    say: Callable[[str], object] = print,
) -> Gate:
    """Measure two settings until the gate decides; what was measured before is reused.

    Args:
        given: of the base and of what is compared with it. Both are tested at the base's rate.
        margin, names: as of ``gate.gate``.
        budget_s: after the first look, no tests are begun that would end later.
        say: takes a line at each look.

    Raises:
        BenchmarkError: as ``LiveRun.once`` and ``gate``; what was measured is kept.
    """
    begin, scored = time.monotonic(), not names or SCORE in names
    sides = [_named(params, side) for params, side in zip(given, SIDES, strict=True)]
    speed = [name for name in names or METRICS if name != SCORE]
    confidence = confidence_of(len(LOOKS), len(speed)) if speed else CONFIDENCE
    made, folders = 0, [Path(), Path()]
    found = Gate("cannot tell", {}, margin)
    for look in LOOKS:
        if made and (time.monotonic() - begin) * look / made > budget_s:
            say(f"{count(look, 'pair')} would take more than {say_duration(budget_s)}")
            break
        for side, numbers in visits(made, look):
            folders[side], rate = _visit(sides[side], numbers, scored)
            sides[1] = sides[1].changed(target_qps=rate)
        made = look
        base, new = (Run.open(folder) for folder in folders)
        found = gate(base, new, margin, names, confidence)
        say(f"{count(made, 'pair')} in {say_duration(time.monotonic() - begin)}: {found.outcome}")
        if found.outcome != "cannot tell":
            break
    return found


def visits(made: int, wanted: int) -> list[tuple[int, list[int]]]:
    """The tests from one number of pairs to another, in turn: side, and numbers of its tests.

    Neighbours of one side are one visit, which loads its engine once.
    """
    turns = [turn for turn in mixed_order((0, 1), wanted) if turn[1] > made]
    return [
        (side, [number for _, number in group]) for side, group in groupby(turns, itemgetter(0))
    ]


def _named(params: RunParams, side: str) -> RunParams:
    return params.changed(run_name=f"{params.run_name or 'gate'}-{side}", repeats=1)


def _visit(params: RunParams, numbers: Sequence[int], scored: bool) -> tuple[Path, float]:
    """Run tests of one setting; returns the run's folder and the rate."""
    with LiveRun.start(params) as live:
        if scored and live.read().accuracy is None:
            live.once("accuracy", "accuracy")
            live.score()
        rate = measure(live).params.rate
        for number in numbers:
            live.once(repeat_name("performance", number), target_qps=rate)
    return live.folder, rate
