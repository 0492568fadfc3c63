"""Better, the same within a margin, or worse: repeated runs of two settings compared."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from loadgen_study.analysis.intervals import student_t
from loadgen_study.words import change

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
        change: of the figure's geometric mean, as a share. low, high: its interval; NaN with a
            single run.
        more_runs: of each, that would decide if the spread stays as it is; None: not known.
    """

    outcome: Outcome
    change: float
    low: float = math.nan
    high: float = math.nan
    more_runs: int | None = None

    def __str__(self) -> str:
        value, low, high = map(change, (self.change, self.low, self.high))
        return value if math.isnan(self.low) else f"{value} [{low}, {high}]"


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
    if min(len(base), len(new)) < FEWEST_RUNS:
        return Decision("cannot tell", math.expm1(sign * difference))
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
    return Decision(end, *_shares(sign, difference, low, high), more)


def against_best(
    figures: Mapping[str, Sequence[float]],
    margin: float,
    confidence: float,
    *,
    higher_is_better: bool,
) -> tuple[str, dict[str, Decision]]:
    """The best of several settings by its mean, and what is known of each against it.

    One spread for all, as in a one-way analysis of variance: the figures' logarithms vary about
    their setting's mean by chance alone, and by as much in each. So a setting that ran once can be
    judged as soon as another ran twice.

    Args:
        figures: of each setting's runs, by its name; at least one run each, above 0.
        margin: as a share, 0 to 1. confidence: of each interval, 0 to 1.

    Returns:
        the name, and by name "worse" (the interval leaves 0 out), "same" (it lies within the
        margin; so is the best itself) or "cannot tell".
    """
    sign = 1 if higher_is_better else -1
    logs = {name: sign * np.log(values) for name, values in figures.items()}
    best = max(logs, key=lambda name: float(logs[name].mean()))
    free = sum(len(values) - 1 for values in logs.values())
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in logs.values())
    found = {best: Decision("same", 0.0, 0.0, 0.0)}
    for name in logs.keys() - found.keys():
        difference = float(logs[name].mean() - logs[best].mean())
        if not free:
            found[name] = Decision("cannot tell", math.expm1(sign * difference))
            continue
        error = math.sqrt(squares / free * (1 / len(logs[name]) + 1 / len(logs[best])))
        half = student_t((1 + confidence) / 2, free) * error
        low, high = difference - half, difference + half
        end: Outcome = "same" if low > math.log1p(-margin) else "cannot tell"
        end = "worse" if high < 0 else end
        found[name] = Decision(end, *_shares(sign, difference, low, high))
    return best, {name: found[name] for name in figures}


def _shares(sign: int, difference: float, low: float, high: float) -> tuple[float, float, float]:
    """The figure's own change with its interval, from logarithms above 0 where it is better."""
    ends = sorted((sign * low, sign * high))
    return math.expm1(sign * difference), math.expm1(ends[0]), math.expm1(ends[1])


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
    """Further runs of each that decide, if means and spreads stay what they are."""
    variance = sum(float(values.var(ddof=1)) for values in logs)
    had = min(map(len, logs))
    for runs in range(had + 1, MOST_RUNS + 1):
        half = student_t((1 + confidence) / 2, 2 * (runs - 1)) * math.sqrt(variance / runs)
        if judge(difference - half, difference + half, margin) != "cannot tell":
            return runs - had
    return None
