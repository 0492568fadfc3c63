"""Intervals of rates and means."""

import itertools
import math

import numpy as np
import pandas as pd

# Student's t, 97.5 %, by degrees of freedom (any table).
T_95 = {9: 2.262}
BOOTSTRAPS = 2000


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """95 % interval of a mean, by the bootstrap over queries (Efron 1979); NaN below two."""
    known = values.dropna().to_numpy(float)
    if len(known) < 2:
        return math.nan, math.nan
    # One resample at a time, so that memory stays bounded; the seed makes it repeatable.
    generator = np.random.default_rng(0)
    means = [
        known[generator.integers(len(known), size=len(known))].mean() for _ in range(BOOTSTRAPS)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def tokens_per_s_interval(frame: pd.DataFrame, windows: int = 10) -> tuple[float, float]:
    """95 % interval of the output tokens/s, by batch means over windows of the test.

    Rates of neighbouring queries hang together, those of long windows hardly: the mean of ten has
    Student's t distribution with nine degrees of freedom (Law, Simulation Modeling and Analysis,
    9.5.3). The test's start and end, when the batch fills and empties, widen it.
    """
    edges, rates = token_rates(frame, windows)
    if len(edges) == 0:
        return math.nan, math.nan
    half = T_95[windows - 1] * float(np.std(rates, ddof=1)) / math.sqrt(windows)
    return float(np.mean(rates)) - half, float(np.mean(rates)) + half


def token_rates(frame: pd.DataFrame, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Output tokens/s by window: the first as it comes, the rest spread evenly over the decode.

    Args:
        frame: of ``metrics.latencies``.

    Returns:
        edges (windows + 1,) in s, and rates (windows,); both empty without an answer.
    """
    done = frame.dropna(subset=["first_token_s", "done_s"])
    if done.empty:
        return np.array([]), np.array([])
    edges = np.linspace(0, max(done["done_s"].max(), 1e-9), windows + 1)
    first, last = done["first_token_s"].to_numpy(), done["done_s"].to_numpy()
    length = np.maximum(last - first, 1e-9)
    begun = np.histogram(first, edges, weights=np.minimum(done["output_tokens"], 1))[0]
    later = np.maximum(done["output_tokens"] - 1, 0)
    rates = []
    for window, (left, right) in enumerate(itertools.pairwise(edges)):
        share = np.clip(np.minimum(last, right) - np.maximum(first, left), 0, None) / length
        rates.append(float(begun[window] + (share * later).sum()) / (right - left))
    return edges, np.array(rates)
