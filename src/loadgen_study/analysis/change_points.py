"""Where a series of runs changes its level."""

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.01  # of each test; a page tests four metrics, so it marks 4 % of the steady histories
FEWEST_SIDE = 3  # runs on each side of a change: fewer are outliers
FEWEST_RUNS = 11  # of ten, not even a clean step is reliably rarer than LEVEL
LEAST_CHANGE = 0.005  # a smaller step is not marked, however sure it is; a share
PERMUTATIONS = 999
TINY = 1e-9  # a spread that rounding makes, as a share


def change_points(values: ArrayLike) -> list[int]:
    """The places at which a new level begins, ascending.

    Binary segmentation (Scott and Knott 1974; Vostrikova 1981): the series is split where the sum
    of squares between both sides is largest, if at most ``LEVEL`` of the permutations of the runs
    have as large a one, and so is each side. A permutation test (p = (1 + b) / (1 + m), Phipson and
    Smyth 2010), which E-divisive (Matteson and James 2014) uses too, holds for any distribution of
    the noise, but takes the noise of one run for independent of the next one's. A step is found as
    a share: by logarithms; one below ``LEAST_CHANGE`` ends the search.

    Args:
        values: (runs,) in order of time, above 0.

    Returns:
        indices of the first run of each new level.
    """
    return _split(np.log(np.asarray(values, dtype=float)), 0)


def _split(logs: np.ndarray, offset: int) -> list[int]:
    if len(logs) < FEWEST_RUNS or np.ptp(logs) < TINY:
        return []
    at, as_large = best_split(logs, FEWEST_SIDE, PERMUTATIONS)
    if (1 + as_large) / (1 + PERMUTATIONS) > LEVEL:
        return []
    if abs(logs[at:].mean() - logs[:at].mean()) < LEAST_CHANGE:
        return []
    return [*_split(logs[:at], offset), offset + at, *_split(logs[at:], offset + at)]


def best_split(values: np.ndarray, fewest: int, permutations: int) -> tuple[int, int]:
    """Where two means fit a series best, and how many permutations of it two means fit as well.

    Args:
        values: (values,) in order. fewest: values on each side.

    Returns:
        the index of the first value after the split, and the number of permutations.
    """
    between = _between(values[np.newaxis], fewest)[0]
    shuffled = np.random.default_rng(0).permuted(np.tile(values, (permutations, 1)), axis=1)
    as_large = _between(shuffled, fewest).max(axis=1) >= between.max()
    return fewest + int(between.argmax()), int(as_large.sum())


def _between(series: np.ndarray, fewest: int) -> np.ndarray:
    """The sum of squares between both sides of each split; (series, splits)."""
    length = series.shape[1]
    before = np.arange(fewest, length - fewest + 1)
    centred = series - series.mean(axis=1, keepdims=True)
    sums = centred.cumsum(axis=1)[:, before - 1]
    found: np.ndarray = sums**2 * length / (before * (length - before))
    return found
