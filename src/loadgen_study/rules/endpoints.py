"""Preview of an MLPerf Endpoints submission: what its rules require, and what a run has.

Sources, read in October 2026: mlcommons/endpoints_policies, endpoints_rules.md (draft of v1.0),
sections 5.3 to 5.7 and 6.1 to 6.2; mlcommons/endpoints-submission-docs, docs/workflow.
"""

import math
from collections.abc import Sequence

import pandas as pd

from loadgen_study.analysis.closed_loop import FLAT_PASSES
from loadgen_study.rules.rule import Rule, departures
from loadgen_study.words import count, listed

# One point in each of four regions, three more in the last three, and Offline.
POINTS, MOST_POINTS, MORE = 8, 32, 3
ULTRA_LOW = 32
LOW_S, LEAST_S = 600, 1200
REGIONS = ("Ultra Low", "Low", "Medium", "High")
NOTHING = "nothing"


def regions(c_min: int, c_max: int) -> dict[str, tuple[int, int]]:
    """Each region's fewest and most queries at once (section 5.5 of the draft).

    Args:
        c_min: fewest queries at once of the curve, 1 to 32. c_max: the most, above 32.
    """
    interval = math.log2(c_max - c_min) / 3
    low, medium = round(c_min + 2**interval), round(c_min + 2 ** (2 * interval))
    ends = ((1, ULTRA_LOW), (c_min + 1, low), (low + 1, medium), (medium + 1, c_max))
    return dict(zip(REGIONS, ends, strict=True))


def preview(tests: pd.DataFrame, rules: Sequence[Rule], subject: str, scored: bool) -> pd.DataFrame:
    """What a submission requires, what the run has, and what it lacks.

    Args:
        tests: at fixed concurrency, of ``runs.sweep.sweep_table``.
        rules: the run's, of ``conformance.rules_of``. subject: its model and data.
        scored: whether its answers were scored.
    """
    at_once = [int(number) for number in tests["offered"]]
    other = [rule.title.lower() for rule in departures(rules) if rule.part == "task"]
    rows = {
        "points": _points(at_once),
        "regions": _regions(at_once),
        "steady part": _durations(tests),
        "steady window": _windows(tests),
        "model and data": ("of one of its benchmarks", subject, listed(other) or NOTHING),
        "accuracy": (
            "after the test of a point in each region, and of Offline",
            "one test, at no point" if scored else "none",
            "accuracy tests of five points",
        ),
        "client": ("MLCommons' inference-endpoint", "LoadGen in this harness", "its own client"),
    }
    columns = ["required", "this run", "lacks"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("Endpoints")


def _points(at_once: Sequence[int]) -> tuple[str, str, str]:
    required = f"{POINTS} to {MOST_POINTS}; {POINTS - 1} where the last counts as Offline"
    lacks = max(0, POINTS - 1 - len(at_once))
    over = len(at_once) - MOST_POINTS
    said = f"{count(over, 'point')} too many" if over > 0 else NOTHING
    return required, str(len(at_once)), f"{lacks} more" if lacks else said


def _regions(at_once: Sequence[int]) -> tuple[str, str, str]:
    """Points by region; the regions follow from the curve's own ends."""
    c_min, c_max = min(at_once), max(at_once)
    if c_min > ULTRA_LOW or c_max <= ULTRA_LOW:
        lacks = [f"a point at 1 to {ULTRA_LOW} at once"] * (c_min > ULTRA_LOW)
        lacks += [f"a point above {ULTRA_LOW} at once"] * (c_max <= ULTRA_LOW)
        required = "a point in each of four, which follow from the fewest and the most at once"
        return required, f"{c_min} to {c_max} at once", ", ".join(lacks)
    known = regions(c_min, c_max)
    held = {name: sum(a <= number <= b for number in at_once) for name, (a, b) in known.items()}
    bounds = {name: f"{name} ({least} to {most})" for name, (least, most) in known.items()}
    lacks = [f"a point in {bounds[name]}" for name, points in held.items() if not points]
    above = sum(number > c_min for number in at_once)
    if (more := len(REGIONS) - 1 + MORE - above - len(lacks)) > 0:
        lacks.append(f"{count(more, 'further point')} above {c_min}")
    required = f"a point in each of {', '.join(bounds.values())}; {MORE} more in the last three"
    said = ", ".join(f"{points} in {name}" for name, points in held.items())
    return required, said, ", ".join(lacks) or NOTHING


def _durations(tests: pd.DataFrame) -> tuple[str, str, str]:
    """The time between the end of the ramp and the last query, of each point."""
    least_s = tests["offered"].map(lambda number: LOW_S if number <= ULTRA_LOW else LEAST_S)
    lasted_s = tests["steady_s"].fillna(0.0)
    short = [int(number) for number in tests.loc[lasted_s < least_s, "offered"]]
    required = f"{LOW_S} s at 1 to {ULTRA_LOW} at once, {LEAST_S:,} s above"
    lacks = f"time at {listed(short)} at once" if short else NOTHING
    return required, f"{_span(lasted_s)} s", lacks


def _windows(tests: pd.DataFrame) -> tuple[str, str, str]:
    required = f"{FLAT_PASSES} passes over the data with flat TPOT, else the whole test counts"
    missing = [int(number) for number in tests.loc[tests["flat"] != True, "offered"]]  # noqa: E712
    said = f"{_span(tests['passes'])} whole passes"
    return required, said, f"flat TPOT at {listed(missing)} at once" if missing else NOTHING


def _span(values: "pd.Series[float]") -> str:
    """Minimum and maximum: "8 to 16", "2"."""
    return " to ".join(dict.fromkeys(f"{value:,.0f}" for value in (values.min(), values.max())))
