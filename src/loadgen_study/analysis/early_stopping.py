"""LoadGen's limits on a test, and its early stopping: how many queries make a verdict sure."""

import functools

import pandas as pd
import scipy

from vllm_loadgen.records.result import Result

# Confidence that the percentile holds (loadgen/early_stopping.cc).
CONFIDENCE = 0.99


@functools.cache
def violations_allowed(queries: int, share: float) -> int:
    """Most queries over a limit that LoadGen's early stopping accepts; -1 if none will do.

    LoadGen accepts ``t`` violations of ``n`` queries if, were the true share of violations
    (1 - share), seeing so few would have a probability of at most 1 - CONFIDENCE:
    P[Binomial(n, 1 - share) <= t] <= 0.01 (loadgen/early_stopping.cc, there by the incomplete
    beta function).
    """
    return int(scipy.stats.binom.ppf(1 - CONFIDENCE, queries, 1 - share)) - 1


def early_stopping_queries(violations: int, share: float) -> int:
    """Fewest queries with which LoadGen accepts this many violations (459 for 0 at 0.99).

    Among as many queries one more violation would occur with a probability of CONFIDENCE.
    """
    kept = scipy.stats.nbinom.ppf(CONFIDENCE, violations + 1, 1 - share)
    return int(kept) + violations + 1


def significantly_violated(queries: int, violations: int, share: float) -> bool:
    """Whether the violations show, as surely as LoadGen asks, that the percentile is not kept.

    Early stopping turned around: were the true share of violations (1 - share), P[Binomial(n,
    1 - share) >= violations] <= 0.01. Between the two a test shows nothing.
    """
    # At most this many keep the limit, of queries that each keep it with probability ``share``.
    return queries - violations <= violations_allowed(queries, 1 - share)


def judged(result: Result, name: str) -> tuple[float, float]:
    """One of ``limits_ms``, and the percentile at which it is judged."""
    return limits_ms(result)[name], judged_share(result)


def judged_share(result: Result) -> float:
    """The percentile that LoadGen judges a test by, 0 to 1."""
    share = result.effective_settings.target_latency_percentile
    return result.scenario_traits.percentile if share is None else share


def limits_ms(result: Result) -> dict[str, float]:
    """The limits on "ttft" and "tpot" that LoadGen judges a test by.

    0 where there is none: outside of Server, or without token latencies.
    """
    settings = result.effective_settings
    limited = result.scenario_traits.limited and settings.use_token_latencies is not False
    limits_ns = {"ttft": settings.ttft_latency, "tpot": settings.tpot_latency}
    return {name: (ns or 0) / 1e6 if limited else 0.0 for name, ns in limits_ns.items()}


def no_limit(result: Result) -> str:
    """What a report says of a limit of 0; LoadGen logs its settings only at a test's end."""
    known = result.effective_settings.use_token_latencies is not None
    return "no limit" if known or not result.scenario_traits.limited else "limit not known"


def queries_needed(result: Result, frame: pd.DataFrame) -> tuple[int, int, float]:
    """Queries that LoadGen's early stopping asks for, how many were over a limit, the percentile.

    TTFT and TPOT must pass each by itself, so the worse counts. If more were over than the
    percentile leaves room for, further queries like these cannot help, and the number is that for
    none over. SingleStream needs enough for one (loadgen/results.cc), Offline needs none.
    """
    share = judged_share(result)
    if result.scenario_traits.one_by_one:
        return early_stopping_queries(1, share), 0, share
    limits = {name: limit for name, limit in limits_ms(result).items() if limit}
    if not limits:
        return 0, 0, share
    over = max(int((frame[f"{name}_ms"] > limit).sum()) for name, limit in limits.items())
    hopeless = over > (1 - share) * len(frame)
    return early_stopping_queries(0 if hopeless else over, share), over, share


def tightest_ms(frame: pd.DataFrame, share: float) -> dict[str, float] | None:
    """The least limits on "ttft" and "tpot" that early stopping accepts; None if none will do."""
    allowed = violations_allowed(len(frame), share)
    if allowed < 0:
        return None
    ordered = {name: frame[f"{name}_ms"].dropna().sort_values() for name in ("ttft", "tpot")}
    return {
        name: float(known.iloc[-1 - allowed]) if len(known) > allowed else 0.0
        for name, known in ordered.items()
    }
