"""Percentiles with a bound, as far as there are enough queries for one.

Like LoadGen's early stopping, this takes queries as independent. Those of a queue are not: the
more they are correlated, the less often a bound holds (tests/benchmarks/README.md: how often).
"""

import functools
import math

import numpy as np
from numpy.typing import ArrayLike

from loadgen_study.analysis.early_stopping import early_stopping_queries, violations_allowed
from loadgen_study.facts.results import Distribution
from loadgen_study.words import say_ms

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def percentile(values: ArrayLike, share: float) -> float:
    """The value that LoadGen would print: sorted[floor(n * share)] (loadgen/results.cc)."""
    ordered = _ordered(values)
    if len(ordered) == 0:
        return math.nan
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


@functools.cache
def queries_needed(share: float) -> int:
    """Fewest queries that bound a percentile: 11, 64 and 662 for 0.5, 0.9 and 0.99.

    Enough for one value to lie above the bound, as in mlcommons/endpoints. With 7, 44 and 459 the
    bound would be the maximum, which one slow query decides, and which is shown anyway.
    """
    return early_stopping_queries(1, share)


def upper_bound(values: ArrayLike, share: float) -> float:
    """Upper bound of the true percentile with a confidence of 99 %, in the values' unit.

    The smallest order statistic x(k) with P[Binomial(n, 1 - share) <= n - k] <= 0.01, the tail that
    LoadGen's early stopping sums (David and Nagaraja, Order Statistics, 7.1). NaN values do not
    count; NaN below ``queries_needed``.
    """
    ordered = _ordered(values)
    if len(ordered) < queries_needed(share):
        return math.nan
    return float(ordered[-1 - violations_allowed(len(ordered), share)])


def distribution(values: ArrayLike) -> Distribution:
    """Mean, extremes and bounded percentiles of a latency; NaN where no query has it."""
    known = _ordered(values)
    none = len(known) == 0
    figures = {
        "mean": math.nan if none else float(known.mean()),
        "min": math.nan if none else float(known[0]),
        "max": math.nan if none else float(known[-1]),
    }
    for label, share in PERCENTILES.items():
        enough = len(known) >= queries_needed(share)
        figures[label] = percentile(known, share) if enough else math.nan
        figures[f"{label}_upper"] = upper_bound(known, share)
    return Distribution(queries=len(known), **figures)


def tail(queries: int) -> str | None:
    """The highest of ``PERCENTILES`` with queries enough for a bound, such as "p99", or None."""
    labels = [label for label, share in PERCENTILES.items() if queries >= queries_needed(share)]
    return labels[-1] if labels else None


def say(known: Distribution, label: str) -> str:
    """A percentile in ms with its bound; else ``lacking``."""
    value, upper = getattr(known, label), getattr(known, f"{label}_upper")
    if math.isnan(value):
        return lacking(known.queries, PERCENTILES[label])
    return say_bounded(label, value, upper)


def say_bounded(label: str, value_ms: float, upper_ms: float) -> str:
    """A percentile in ms with its bound, "p90 545 ms (at most 1,017 ms)"."""
    return f"{label} {say_ms(value_ms)} (at most {say_ms(upper_ms)})"


def say_tail(known: Distribution) -> str:
    """The highest percentile that the queries bound, in ms; the maximum where they bound none."""
    label = tail(known.queries)
    return say(known, label) if label else f"maximum {say_ms(known.max)}"


def lacking(queries: int, share: float = PERCENTILES["p99"]) -> str:
    """What a percentile lacks: "p99 needs 662 queries, this test has 64"; empty if nothing."""
    needed = queries_needed(share)
    if queries >= needed:
        return ""
    return f"p{share * 100:g} needs {needed:,} queries, this test has {queries:,}"


def _ordered(values: ArrayLike) -> np.ndarray:
    ordered = np.sort(np.asarray(values, dtype=float))
    known: np.ndarray = ordered[~np.isnan(ordered)]
    return known
