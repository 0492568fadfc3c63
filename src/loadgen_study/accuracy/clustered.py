"""Means and shares of clustered data: tokens of one answer are correlated, as are answers to the
same prompt.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from loadgen_study.analysis.intervals import TWO_SIDED_95, student_t
from loadgen_study.facts.scores import Estimate

# Fewer clusters do not determine their spread well enough for an interval.
FEWEST = 4


def repeats(prompts: Sequence[Sequence[int]]) -> list[int] | None:
    """The cluster of each sample: the first sample with its prompt; None if no prompt repeats."""
    first: dict[bytes, int] = {}
    ids = (np.asarray(prompt, np.int32).tobytes() for prompt in prompts)
    found = [first.setdefault(prompt, place) for place, prompt in enumerate(ids)]
    return found if len(first) < len(found) else None


def summed(values: ArrayLike, clusters: Sequence[int] | None) -> np.ndarray:
    """Sums by cluster, in the order of the clusters' numbers.

    Args:
        clusters: of each value; None: each value is a cluster.
    """
    given = np.asarray(values, float)
    if clusters is None:
        return given
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(places, weights=given)


def mean(
    sums: ArrayLike,
    counts: ArrayLike,
    clusters: Sequence[int] | None = None,
    probability: float = TWO_SIDED_95,
) -> Estimate:
    """Sum over count, with its interval between clusters; no interval below FEWEST of them.

    Args:
        sums, counts: by answer.
        clusters: of ``repeats``, by answer. probability: that the value is below ``high``.

    The ratio estimator: its variance is that of sum - ratio * count between clusters (Cochran,
    Sampling Techniques, 3rd edition, 2.11), Student's t with clusters - 1 degrees of freedom.
    """
    value, error, below = _ratio(sums, counts, clusters)
    if math.isnan(error):
        return Estimate(value=value)
    half = student_t(probability, len(below) - 1) * error
    return Estimate(value=value, low=value - half, high=value + half)


def share(
    hits: Sequence[float], counts: Sequence[float], clusters: Sequence[int] | None = None
) -> Estimate:
    """A share, 0 to 1, with Wilson's interval for the effective number of draws: that of
    independent draws with the variance between clusters (Korn and Graubard 1998).

    At 0 and 1 that variance is unknown: the draws are the counts of one answer a cluster.
    """
    value, error, below = _ratio(hits, counts, clusters)
    if math.isnan(error):
        return Estimate(value=value)
    draws = float(np.sum(below)) * len(below) / len(counts)
    if error:
        draws = min(draws, value * (1 - value) / error**2)
    z = student_t(TWO_SIDED_95, len(below) - 1)
    middle = value + z**2 / (2 * draws)
    spread = z * math.sqrt(value * (1 - value) / draws + z**2 / (4 * draws**2))
    scale = 1 + z**2 / draws
    low, high = (middle - spread) / scale, (middle + spread) / scale
    # At a share of 0 or 1 one end is the share, but for the last digit.
    return Estimate(value=value, low=min(value, max(0.0, low)), high=max(value, min(1.0, high)))


def _ratio(
    sums: ArrayLike, counts: ArrayLike, clusters: Sequence[int] | None
) -> tuple[float, float, np.ndarray]:
    """Sum over count, its standard error (both NaN if not known), and the counts by cluster."""
    above, below = summed(sums, clusters), summed(counts, clusters)
    if not below.sum():
        return math.nan, math.nan, below
    value = float(above.sum() / below.sum())
    if len(below) < FEWEST:
        return value, math.nan, below
    rest = above - value * below
    error = math.sqrt(len(below) * float(np.var(rest, ddof=1))) / float(below.sum())
    return value, error, below
