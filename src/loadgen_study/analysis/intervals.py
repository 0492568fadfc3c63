"""Confidence intervals of rates and means that allow for autocorrelation; NaN if too few data."""

import functools
import math
from typing import Literal

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike

# By simulated queues (tests/analysis/test_coverage.py): with fewer values, or fewer independent
# ones, intervals cover less than 95 %.
FEWEST_VALUES = 500
FEWEST_INDEPENDENT = 250
# The values of tokens/s are windows of this many queries: by single ones, a queue that is still
# filling would pass for a steady one.
WINDOW_QUERIES = 8
# Variances of fewer batches than this say little.
FEWEST_BATCHES = 5
TWO_SIDED_95 = 0.975


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """95 % interval of the mean of a figure of queries, by batch means; or (NaN, NaN).

    The more successive queries are correlated, the more the mean of a batch of them varies for its
    size. Batches of 1, 2, 4, ... are tried, and the interval is the widest of theirs: the data
    choose the length (Law, Simulation Modeling and Analysis, 9.5.3, for batch means; choosing it by
    a low lag-1 correlation takes short lucky tests for independent ones). There is none for fewer
    than ``FEWEST_VALUES``, nor where the mean of fewer than ``FEWEST_INDEPENDENT`` independent
    values would vary as little. It is symmetric in the logarithm, since times and rates are skewed.

    Args:
        values: positive, in order of issue or of time; NaN is left out.
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    mean = float(known.mean()) if len(known) >= FEWEST_VALUES else math.nan
    if not mean > 0:
        return math.nan, math.nan
    # Equal values may differ in their last digits: that is not variance.
    variance = float(known.var(ddof=1))
    if variance <= (1e-9 * mean) ** 2:
        return mean, mean
    half, inflation = 0.0, 1.0
    for size, means in _batches(known):
        of_mean = float(means.var(ddof=1)) / len(means)
        half = max(half, student_t(TWO_SIDED_95, len(means) - 1) * math.sqrt(of_mean))
        inflation = max(inflation, size * len(means) * of_mean / variance)
    if len(known) < FEWEST_INDEPENDENT * inflation:
        return math.nan, math.nan
    return mean * math.exp(-half / mean), mean * math.exp(half / mean)


def _batches(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Sizes 1, 2, 4, ... with the means of their batches; a remainder at the start is left out."""
    found, size = [], 1
    while (number := len(values) // size) >= FEWEST_BATCHES:
        found.append((size, values[-number * size :].reshape(number, size).mean(axis=1)))
        size *= 2
    return found


@functools.cache
def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t."""
    return float(scipy.stats.t.ppf(probability, freedom))


def tokens_per_s_interval(frame: pd.DataFrame) -> tuple[float, float]:
    """95 % interval of the output tokens/s, or (NaN, NaN): ``mean_interval`` over windows of time.

    The test's start and end, when the batch fills and empties, widen it. There is none for fewer
    than ``FEWEST_VALUES`` windows of ``WINDOW_QUERIES``.
    """
    windows = int(frame["done_s"].count()) // WINDOW_QUERIES
    if windows < FEWEST_VALUES:
        return math.nan, math.nan
    return mean_interval(token_rates(frame, windows)[1])


def token_rates(frame: pd.DataFrame, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Output tokens/s by window: the first as it comes, the rest spread evenly over the decode.

    Returns:
        edges (windows + 1,) in s, and rates (windows,); both empty without an answer.
    """
    done = frame.dropna(subset=["first_token_s", "done_s"])
    if done.empty:
        return np.array([]), np.array([])
    edges = np.linspace(0, max(done["done_s"].max(), 1e-9), windows + 1)
    # A window holds its beginning and not its end; the last one holds both.
    made = tokens_by(done, np.append(edges[:-1], np.inf), side="left")
    return edges, np.diff(made) / np.diff(edges)


def tokens_by(
    done: pd.DataFrame, time_s: np.ndarray, side: Literal["left", "right"] = "right"
) -> np.ndarray:
    """Output tokens until each of these times: the first as it comes, the rest spread evenly.

    Args:
        done: answered queries. time_s: (times,), rising. side: "left" leaves out what comes then.

    Returns:
        (times,) tokens.
    """
    first, last = done["first_token_s"].to_numpy(), done["done_s"].to_numpy()
    tokens = done["output_tokens"].to_numpy(float)
    begun = np.searchsorted(np.sort(first[tokens >= 1]), time_s, side=side)
    last = np.maximum(last, first + 1e-9)
    speed = np.maximum(tokens - 1, 0) / (last - first)
    times = np.concatenate([first, last])
    order = np.argsort(times, kind="stable")
    times, speeds = times[order], np.cumsum(np.concatenate([speed, -speed])[order])
    so_far = np.concatenate([[0.0], np.cumsum(speeds[:-1] * np.diff(times))])
    made: np.ndarray = begun + np.interp(time_s, times, so_far, left=0.0)
    return made
