"""Means and shares of what comes in clusters: an answer's tokens hang together, answers do not."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from vllm_loadgen.facts.scores import Estimate

CONFIDENCE = 0.95
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
    half = student_t(len(counts) - 1) * error
    return Estimate(value=value, low=value - half, high=value + half)


def share(hits: Sequence[float], counts: Sequence[float]) -> Estimate:
    """``mean`` of a share, 0 to 1, whose interval stays within: Wilson's, of so many independent
    draws as have the variance between clusters (Korn and Graubard 1998).

    Where all or nothing hits, the clusters tell no variance, and the draws are as many as counts.
    """
    value, error = _ratio(hits, counts)
    if math.isnan(error):
        return Estimate(value=value)
    draws = float(np.sum(counts))
    if error:
        draws = min(draws, value * (1 - value) / error**2)
    z = student_t(len(counts) - 1)
    middle, spread = (
        value + z**2 / (2 * draws),
        z * math.sqrt(value * (1 - value) / draws + z**2 / (4 * draws**2)),
    )
    scale = 1 + z**2 / draws
    low, high = (middle - spread) / scale, (middle + spread) / scale
    # At a share of 0 or 1 one end is the share, but for the last digit.
    return Estimate(value=value, low=min(value, max(0.0, low)), high=max(value, min(1.0, high)))


def _ratio(sums: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """Sum over count and its standard error; NaN for what cannot be told."""
    above, below = np.asarray(sums, float), np.asarray(counts, float)
    if not below.sum():
        return math.nan, math.nan
    value = float(above.sum() / below.sum())
    if len(below) < FEWEST:
        return value, math.nan
    rest = above - value * below
    error = math.sqrt(len(below) * float(np.var(rest, ddof=1))) / float(below.sum())
    return value, error


def student_t(freedom: int) -> float:
    """Student's t at the two-sided CONFIDENCE, within 0.005 from 3 degrees of freedom on.

    By the normal quantile (Abramowitz and Stegun, 26.7.5, four terms).
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / math.pow(freedom, power) for power, term in enumerate(terms, 1))
