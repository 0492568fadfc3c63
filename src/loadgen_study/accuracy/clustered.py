"""Means and shares of clustered data: tokens of one answer are correlated, answers are not."""

import math
from collections.abc import Sequence

import numpy as np

from loadgen_study.analysis.intervals import TWO_SIDED_95, student_t
from loadgen_study.facts.scores import Estimate

# With fewer clusters their spread is not known well enough for an interval.
FEWEST = 4


def mean(sums: Sequence[float], counts: Sequence[float]) -> Estimate:
    """Sum over count, with its interval between clusters; no interval below FEWEST of them.

    Args:
        sums: by cluster. counts: by cluster, of what the sums are of.

    The ratio estimator: its variance is that of sum - ratio * count between clusters (Cochran,
    Sampling Techniques, 3rd edition, 2.11), Student's t with clusters - 1 degrees of freedom.
    """
    value, error = _ratio(sums, counts)
    if math.isnan(error):
        return Estimate(value=value)
    half = student_t(TWO_SIDED_95, len(counts) - 1) * error
    return Estimate(value=value, low=value - half, high=value + half)


def share(hits: Sequence[float], counts: Sequence[float]) -> Estimate:
    """``mean`` of a share, 0 to 1, whose interval stays within: Wilson's, of so many independent
    draws as have the variance between clusters (Korn and Graubard 1998).

    At 0 and 1 the variance between clusters is unknown, and each count is a draw.
    """
    value, error = _ratio(hits, counts)
    if math.isnan(error):
        return Estimate(value=value)
    draws = float(np.sum(counts))
    if error:
        draws = min(draws, value * (1 - value) / error**2)
    z = student_t(TWO_SIDED_95, len(counts) - 1)
    middle, spread = (
        value + z**2 / (2 * draws),
        z * math.sqrt(value * (1 - value) / draws + z**2 / (4 * draws**2)),
    )
    scale = 1 + z**2 / draws
    low, high = (middle - spread) / scale, (middle + spread) / scale
    # At a share of 0 or 1 one end is the share, but for the last digit.
    return Estimate(value=value, low=min(value, max(0.0, low)), high=max(value, min(1.0, high)))


def _ratio(sums: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """Sum over count and its standard error; NaN where it is not known."""
    above, below = np.asarray(sums, float), np.asarray(counts, float)
    if not below.sum():
        return math.nan, math.nan
    value = float(above.sum() / below.sum())
    if len(below) < FEWEST:
        return value, math.nan
    rest = above - value * below
    error = math.sqrt(len(below) * float(np.var(rest, ddof=1))) / float(below.sum())
    return value, error
