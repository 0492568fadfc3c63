"""Figures from another tool's single queries: means with intervals, and quantiles."""

import numpy as np
import pandas as pd

from loadgen_study.analysis.intervals import mean_interval
from loadgen_study.runs.others.origin import Figure

# Enough to draw a distribution; no percentile is read from them.
MOST_QUANTILES = 100


def of_queries(frame: pd.DataFrame) -> tuple[dict[str, Figure], dict[str, tuple[float, ...]]]:
    """Mean with 95 % interval, and quantiles, of each latency that is known.

    Args:
        frame: (queries,) in order of issue; ttft_ms, tpot_ms, latency_ms.
    """
    known = {str(name): frame[name] for name in frame if frame[name].notna().any()}
    means = {name: figure(float(v.mean()), *mean_interval(v)) for name, v in known.items()}
    return means, {name: quantiles(values) for name, values in known.items()}


def figure(value: float, low: float, high: float) -> Figure:
    """A value with its interval, None for NaN."""
    first, second, third = (None if np.isnan(x) else x for x in (value, low, high))
    return first, second, third


def quantiles(values: "pd.Series[float]") -> tuple[float, ...]:
    """All values, ascending, or ``MOST_QUANTILES`` quantiles of them."""
    known = np.sort(values.dropna().to_numpy(float))
    if len(known) > MOST_QUANTILES:
        places = (np.arange(MOST_QUANTILES) + 0.5) / MOST_QUANTILES
        known = np.quantile(known, places, method="inverted_cdf")
    return tuple(float(f"{value:.5g}") for value in known)
