"""Spread between runs of the same test, and the interval of their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadgen_study.analysis.intervals import TWO_SIDED_95, student_t

# Fewer runs have no interval: Student's t of two is 12.7 standard errors wide.
FEWEST_RUNS = 3


@dataclass(frozen=True)
class Spread:
    """A figure over several runs; NaN where there are too few of them."""

    runs: int  # that have the figure
    mean: float
    cv: float = math.nan  # standard deviation / mean, a share; from two runs on
    # 95 % interval of the mean between runs, and where one more run is expected; from
    # ``FEWEST_RUNS`` on.
    low: float = math.nan
    high: float = math.nan
    next_low: float = math.nan
    next_high: float = math.nan


def spread(values: Sequence[float]) -> Spread:
    """The spread of one figure over runs, by Student's t on the runs' values.

    Queries of one run are correlated in ways that the run itself does not show, runs hardly are: so
    the interval is of runs, not of queries (Law, Simulation Modeling and Analysis, 9.4.1).

    Args:
        values: one of each run; NaN is left out.
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(0, math.nan)
    runs, mean = len(known), float(np.mean(known))
    if runs == 1:
        return Spread(runs, mean)
    deviation = float(np.std(known, ddof=1))
    cv = deviation / mean if mean else math.nan
    if runs < FEWEST_RUNS:
        return Spread(runs, mean, cv)
    t = student_t(TWO_SIDED_95, runs - 1)
    half = t * deviation / math.sqrt(runs)
    next_half = t * deviation * math.sqrt(1 + 1 / runs)
    return Spread(runs, mean, cv, mean - half, mean + half, mean - next_half, mean + next_half)


def median_place(values: Sequence[float]) -> int:
    """The place of the median; of an even number, of the lower of both in the middle."""
    return int(np.argsort(values, kind="stable")[(len(values) - 1) // 2])
