"""Better, the same within a margin, or worse: repeated runs of two settings compared."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Outcome = Literal["better", "same", "worse", "cannot tell"]
CONFIDENCE = 0.95  # of the interval; so either error has half of what is left
FALSE_ALARMS = 0.05  # of a test that looks several times
FEWEST_RUNS = 2  # of each: one run has no spread
MOST_RUNS = 100
TINY = 1e-9  # a spread that rounding makes


@dataclass(frozen=True)
class Decision:
    """What repeated runs say.

    Attributes:
        change: of the geometric means, as a share; above 0 is better. low, high: its interval;
            NaN with a single run.
        more_runs: of each, that would decide if the spread stays as it is; None: not known.
    """

    outcome: Outcome
    change: float
    low: float = math.nan
    high: float = math.nan
    more_runs: int | None = None


def confidence_of(looks: int, figures: int = 1) -> float:
    """Confidence of each interval of a test with several looks at several figures.

    Bonferroni's inequality: the one-sided errors of all looks sum to ``FALSE_ALARMS`` at most.
    """
    return 1 - 2 * FALSE_ALARMS / (looks * figures)


def decide(
    base: Sequence[float],
    new: Sequence[float],
    margin: float = 0.03,
    confidence: float = CONFIDENCE,
    *,
    higher_is_better: bool,
) -> Decision:
    """Compare a figure of runs of two settings: a test of non-inferiority by Welch's interval.

    Worse: the whole interval lies below -margin. Better: it lies above 0. The same: it lies above
    -margin. Figures are compared by their logarithms, since a margin is a share.

    Args:
        base, new: the figure of each run, above 0. margin: as a share, 0 to 1.
        confidence: of the interval, 0 to 1.

    Raises:
        ValueError: for a figure that is not above 0, or a margin outside 0 to 1.
    """
    if not 0 < margin < 1 or not all(value > 0 for value in (*base, *new)):
        raise ValueError("figures must be above 0, and the margin between 0 and 1")
    sign = 1 if higher_is_better else -1
    logs = [sign * np.log(values) for values in (base, new)]
    difference = float(logs[1].mean() - logs[0].mean())
    change = math.expm1(difference)
    if min(len(base), len(new)) < FEWEST_RUNS:
        return Decision("cannot tell", change)
    low = high = difference
    if any(np.ptp(values) > TINY for values in logs):
        with warnings.catch_warnings():  # figures that are nearly the same lose precision
            warnings.simplefilter("ignore", RuntimeWarning)
            found = stats.ttest_ind(logs[1], logs[0], equal_var=False)
        low, high = map(float, found.confidence_interval(confidence))
    end = judge(low, high, math.log1p(-margin))
    more = None
    if end == "cannot tell":
        more = _more_runs(logs, difference, math.log1p(-margin), confidence)
    return Decision(end, change, math.expm1(low), math.expm1(high), more)


def judge(low: float, high: float, margin: float) -> Outcome:
    """The outcome of an interval of a change.

    Args:
        low, high: its ends; above 0 is better. margin: below 0; a change may be as bad as that.
    """
    if high < margin:
        return "worse"
    if low > 0:
        return "better"
    return "same" if low > margin else "cannot tell"


def _more_runs(
    logs: Sequence[np.ndarray], difference: float, margin: float, confidence: float
) -> int | None:
    """Runs of each beyond those that there are, if means and spreads stay what they are."""
    variance = sum(float(values.var(ddof=1)) for values in logs)
    had = min(map(len, logs))
    runs = np.arange(had + 1, MOST_RUNS + 1)
    halves = stats.t.ppf((1 + confidence) / 2, 2 * (runs - 1)) * np.sqrt(variance / runs)
    ends = ((difference - half, difference + half) for half in halves)
    decided = [judge(low, high, margin) != "cannot tell" for low, high in ends]
    return decided.index(True) + 1 if True in decided else None
