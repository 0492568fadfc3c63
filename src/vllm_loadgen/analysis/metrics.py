"""Records to figures: latencies, throughput, load over time, early stopping, projections."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

# Samples of the official dataset (cnn_dailymail 3.0.0, validation, as MLCommons cut it).
FULL_DATASET = 13_368
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# LoadGen's early stopping: confidence 0.99 that the percentile holds (early_stopping.cc).
CONFIDENCE = 0.99
# Student's t, 97.5 %, by degrees of freedom (any table).
T_95 = {9: 2.262}
METRIC_NAMES = {
    "ttft_ms": "Time to first token (TTFT), ms",
    "tpot_ms": "Time per output token (TPOT), ms",
    "latency_ms": "Latency of a query, ms",
}


def latencies(records: pd.DataFrame) -> pd.DataFrame:
    """What a reader asks of each query; float64, NaN where a query did not get so far.

    LoadGen's definitions: TTFT = first token - scheduled; latency = done - scheduled; TPOT =
    (done - first token) / (output tokens - 1). A TTFT is made of schedule_delay (the harness
    was late), queue (the engine had not begun) and prefill.

    Returns:
        (queries,) sample_index, input_tokens, output_tokens, ttft_ms, tpot_ms, latency_ms,
        schedule_delay_ms, queue_ms, prefill_ms, decode_ms; scheduled_s, issued_s, started_s,
        first_token_s, done_s since the run's start.
    """
    names = ("scheduled", "issued", "started", "first_token", "done")
    # Whole ns, exact in float64: a query at its limit is not over it, as in LoadGen.
    at_ns = {name: records[f"{name}_ns"].astype("Float64").to_numpy(float, na_value=np.nan)
             for name in names}  # fmt: skip
    frame = records[["sample_index", "input_tokens", "output_tokens"]].copy()
    frame["ttft_ms"] = (at_ns["first_token"] - at_ns["scheduled"]) / 1e6
    frame["latency_ms"] = (at_ns["done"] - at_ns["scheduled"]) / 1e6
    frame["decode_ms"] = (at_ns["done"] - at_ns["first_token"]) / 1e6
    gaps = frame["output_tokens"].where(frame["output_tokens"] >= 2) - 1
    frame["tpot_ms"] = frame["decode_ms"] / gaps
    frame["schedule_delay_ms"] = (at_ns["issued"] - at_ns["scheduled"]) / 1e6
    frame["queue_ms"] = np.maximum(at_ns["started"] - at_ns["issued"], 0) / 1e6
    frame["prefill_ms"] = (at_ns["first_token"] - at_ns["started"]) / 1e6
    for name in names:
        frame[f"{name}_s"] = at_ns[name] / 1e9
    return frame


def percentile(values: Any, share: float) -> float:
    """The value that LoadGen would print: sorted[floor(n * share)] (loadgen/results.cc)."""
    ordered = np.sort(np.asarray(values, dtype=float))
    ordered = ordered[~np.isnan(ordered)]
    if len(ordered) == 0:
        return math.nan
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def metrics(records: pd.DataFrame, scenario: str) -> dict[str, Any]:
    """Throughput and latencies of a test.

    Rates are LoadGen's (loadgen/results.cc): over the time to the last completion; in the Server
    scenario to the completion of the last query issued, where the first query only starts the
    clock: (n - 1) samples, and all tokens, over that time. In SingleStream, where LoadGen divides
    by the time to the last *issue* and so counts the last answer without its time, they are over
    the time to the last completion too: below LoadGen's tokens/s by about one part in n.

    Returns:
        samples, completed, duration_s, samples_per_s, tokens_per_s, input_tokens_per_s,
        output_tokens {mean, total}, and ttft_ms, tpot_ms, latency_ms, queue_ms, prefill_ms,
        decode_ms, schedule_delay_ms as {mean, p50, p90, p99, min, max}.
    """
    frame = latencies(records)
    done = frame.dropna(subset=["done_s"])
    duration_s = float(done["done_s"].max()) if len(done) else 0.0
    tokens = int(done["output_tokens"].sum())
    server = scenario == "Server" and len(done) > 1
    span_s = float(done["done_s"].iloc[-1]) if server else duration_s
    rate = 1 / span_s if span_s else 0.0
    result: dict[str, Any] = {
        "samples": len(frame),
        "completed": len(done),
        "duration_s": duration_s,
        "samples_per_s": (len(done) - server) * rate,
        "tokens_per_s": tokens * rate,
        "input_tokens_per_s": int(done["input_tokens"].sum()) * rate,
        "output_tokens": {
            "mean": tokens / len(done) if len(done) else math.nan,
            "total": tokens,
        },
    }
    for name in (*METRIC_NAMES, "queue_ms", "prefill_ms", "decode_ms", "schedule_delay_ms"):
        values = frame[name].dropna()
        result[name] = {
            "mean": float(values.mean()) if len(values) else math.nan,
            **{label: percentile(values, share) for label, share in PERCENTILES.items()},
            "min": float(values.min()) if len(values) else math.nan,
            "max": float(values.max()) if len(values) else math.nan,
        }
    return result


def metrics_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """The metrics for display: one row each, mean beside p50, p90, p99 (blank for rates)."""
    rows = {
        "Samples per second": {"mean": f"{metrics['samples_per_s']:.3f}"},
        "Output tokens per second": {"mean": f"{metrics['tokens_per_s']:.2f}"},
    }
    for name, title in METRIC_NAMES.items():
        rows[title] = {
            column: "n/a" if math.isnan(value) else f"{value:,.2f}"
            for column, value in metrics[name].items()
            if column in ("mean", *PERCENTILES)
        }
    table = pd.DataFrame(rows).T.fillna("").rename_axis("Metric")
    return table[["mean", *PERCENTILES]]


def load_over_time(records: pd.DataFrame, points: int = 200) -> pd.DataFrame:
    """How many queries were where, at ``points`` instants over the test.

    Returns:
        (points,) time_s, arrived, completed, waiting (no prefill yet; no first token yet where
        the engine does not tell), in_flight (arrived and not completed).
    """
    frame = latencies(records)
    return _counts(frame, np.linspace(0, max(_end_s(frame), 1e-9), points))


def _counts(frame: pd.DataFrame, time_s: np.ndarray) -> pd.DataFrame:
    """The columns of ``load_over_time`` at these instants; ``frame`` is of ``latencies``."""
    begun = frame["started_s"].fillna(frame["first_token_s"]).fillna(frame["done_s"])

    def count(times: pd.Series) -> np.ndarray:
        return np.searchsorted(np.sort(times.dropna()), time_s, side="right")

    arrived, completed = count(frame["scheduled_s"]), count(frame["done_s"])
    return pd.DataFrame(
        {
            "time_s": time_s,
            "arrived": arrived,
            "completed": completed,
            "waiting": np.maximum(arrived - count(begun), 0),
            "in_flight": arrived - completed,
        }
    )


def _end_s(frame: pd.DataFrame) -> float:
    """The last thing that happened, s; 0 without queries."""
    last = frame[["scheduled_s", "first_token_s", "done_s"]].max().max()
    return 0.0 if math.isnan(last) else float(last)


def arrivals_vs_service(records: pd.DataFrame) -> dict[str, float]:
    """Whether the queue grows: rates and queue over the time in which queries arrived.

    Counts are taken at every event, so that a peak of any length is seen.

    Returns:
        arrivals_per_s (infinite if all came at once); completions_per_s while they arrived;
        served_per_s (completions over the time in which the system was not idle);
        queue_growth_per_s (least-squares slope of the queries in the system, while they arrived);
        peak_in_flight, peak_waiting, peak_served and mean_served: queries in the system, before
        prefill, and in the engine at once (mean over the time that was not idle); serial_share:
        of that time, the share in which queries waited while exactly one was served;
        window_s (first to last arrival), fastest_s (least latency); latency_rise_s and
        queue_rise_s: see ``_rise_s``.
    """
    frame = latencies(records)
    window_s = float(frame["scheduled_s"].max()) if len(frame) else 0.0
    slope = 0.0
    if window_s > 0 and len(frame) > 2:
        arriving = _counts(frame, np.linspace(0, window_s, 400))
        slope = float(np.polyfit(arriving["time_s"], arriving["in_flight"], 1)[0])
    done_by_then = int((frame["done_s"] <= window_s).sum())
    end_s = _end_s(frame)
    return {
        "arrivals_per_s": (len(frame) - 1) / window_s if window_s > 0 else math.inf,
        "completions_per_s": done_by_then / window_s if window_s > 0 else 0.0,
        "queue_growth_per_s": slope,
        "window_s": window_s,
        "fastest_s": float(frame["latency_ms"].min()) / 1e3,
        # An unanswered query has waited until the end at least.
        "latency_rise_s": _rise_s(frame["done_s"].fillna(end_s) - frame["scheduled_s"]),
        "queue_rise_s": _rise_s(frame["queue_ms"] / 1e3),
        **_concurrency(frame),
    }


def _concurrency(frame: pd.DataFrame) -> dict[str, float]:
    """The part of ``arrivals_vs_service`` that counts queries at once."""
    events = frame[["scheduled_s", "started_s", "first_token_s", "done_s"]].to_numpy().ravel()
    load = _counts(frame, np.unique(events[~np.isnan(events)]))
    served = load["in_flight"] - load["waiting"]
    # How long each state lasted; the last event ends the test.
    lasted_s = np.diff(load["time_s"], append=load["time_s"].max()) if len(load) else np.array([])
    busy_s = float(lasted_s[load["in_flight"] > 0].sum())
    behind_one_s = float(lasted_s[(served == 1) & (load["waiting"] > 0)].sum())
    return {
        "served_per_s": float(frame["done_s"].count()) / busy_s if busy_s else 0.0,
        "peak_in_flight": float(load["in_flight"].max()) if len(load) else 0.0,
        "peak_waiting": float(load["waiting"].max()) if len(load) else 0.0,
        "peak_served": float(served.max()) if len(load) else 0.0,
        "mean_served": float((served * lasted_s).sum()) / busy_s if busy_s else 0.0,
        "serial_share": behind_one_s / busy_s if busy_s else 0.0,
    }


def _rise_s(values: pd.Series) -> float:
    """By how much the last third of the queries exceeds the middle third on average.

    The first third is left out: it finds an empty system, so latencies rise there in any run.
    Above capacity they go on rising: arrivals at rate a for T s, served at rate c, give a rise of
    (a / c - 1) T / 3 between these thirds.
    """
    third = len(values) // 3
    if not third:
        return math.nan
    return float(values.iloc[-third:].mean() - values.iloc[third : 2 * third].mean())


def kept_share(records: pd.DataFrame, result: dict[str, Any]) -> float:
    """The share of queries, 0 to 1, that kept the limits on both TTFT and TPOT."""
    frame = latencies(records)
    kept = frame["done_s"].notna()
    for name, limit in limits_ms(result).items():
        if limit:
            # An answer of one token has no TPOT to be over.
            kept &= (frame[f"{name}_ms"] <= limit) | frame[f"{name}_ms"].isna()
    return float(kept.mean()) if len(kept) else 0.0


def mean_interval(values: Any, repeats: int = 2000) -> tuple[float, float]:
    """95 % interval of a mean, by the bootstrap over queries (Efron 1979); NaN below two."""
    known = np.asarray(pd.Series(values).dropna(), dtype=float)
    if len(known) < 2:
        return math.nan, math.nan
    # One resample at a time, so that memory stays bounded; the seed makes it repeatable.
    generator = np.random.default_rng(0)
    means = [known[generator.integers(len(known), size=len(known))].mean() for _ in range(repeats)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def tokens_per_s_interval(records: pd.DataFrame, windows: int = 10) -> tuple[float, float]:
    """95 % interval of the output tokens/s, by batch means over windows of the test.

    Rates of neighbouring queries hang together, those of long windows hardly: the mean of ten has
    Student's t distribution with nine degrees of freedom (Law, Simulation Modeling and Analysis,
    9.5.3). The test's start and end, when the batch fills and empties, widen it.
    """
    edges, rates = token_rates(records, windows)
    if len(edges) == 0:
        return math.nan, math.nan
    half = T_95[windows - 1] * float(np.std(rates, ddof=1)) / math.sqrt(windows)
    return float(np.mean(rates)) - half, float(np.mean(rates)) + half


def token_rates(records: pd.DataFrame, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Output tokens/s by window: the first as it comes, the rest spread evenly over the decode.

    Returns:
        edges (windows + 1,) in s, and rates (windows,); both empty without an answer.
    """
    done = latencies(records).dropna(subset=["first_token_s", "done_s"])
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


def violations_allowed(queries: int, share: float) -> int:
    """Most queries over a limit that LoadGen's early stopping accepts; -1 if none will do.

    LoadGen accepts ``t`` violations of ``n`` queries if, were the true share of violations
    (1 - share), seeing so few would have a probability of at most 1 - CONFIDENCE:
    P[Binomial(n, 1 - share) <= t] <= 0.01 (loadgen/early_stopping.cc, there by the incomplete
    beta function). Summed by logarithms: the first terms underflow at 10^5 queries.
    """
    rate = 1 - share
    log_term = queries * math.log1p(-rate)
    cumulative = 0.0
    for violations in range(queries):
        cumulative += math.exp(log_term)
        if cumulative > 1 - CONFIDENCE:
            return violations - 1
        log_term += math.log((queries - violations) / (violations + 1) * rate / (1 - rate))
    return queries - 1  # no queries, or a share so low that all but one may be over


def early_stopping_queries(violations: int, share: float) -> int:
    """Fewest queries with which LoadGen accepts so many violations (459 for 0 at 0.99)."""
    low, high = violations + 1, violations + 2
    while violations_allowed(high, share) < violations:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if violations_allowed(middle, share) >= violations:
            high = middle
        else:
            low = middle + 1
    return low


def judged(result: dict[str, Any], name: str) -> tuple[float, float]:
    """The limit, ms, on "ttft" or "tpot" that LoadGen judges a test by, and the percentile.

    The limit is 0 where there is none: outside of Server, or without token latencies.
    """
    settings = result.get("effective_settings", {})
    limited = result["scenario"] == "Server" and settings.get("use_token_latencies", True)
    limit_ms = settings.get(f"{name}_latency", 0) / 1e6 if limited else 0.0
    default = 0.9 if result["scenario"] == "SingleStream" else 0.99
    return limit_ms, settings.get("target_latency_percentile", default)


def limits_ms(result: dict[str, Any]) -> dict[str, float]:
    """The limits on "ttft" and "tpot" that LoadGen judges a test by; 0 where there is none."""
    return {name: judged(result, name)[0] for name in ("ttft", "tpot")}


def queries_needed(result: dict[str, Any], frame: pd.DataFrame) -> tuple[int, int, float]:
    """Queries that LoadGen's early stopping asks for, how many were over a limit, the percentile.

    TTFT and TPOT must pass each by itself, so the worse counts. If more were over than the
    percentile leaves room for, further queries like these cannot help, and the number is that for
    none over. SingleStream needs enough for one (loadgen/results.cc), Offline needs none.

    Args:
        frame: of ``latencies``.
    """
    share = judged(result, "ttft")[1]
    if result["scenario"] == "SingleStream":
        return early_stopping_queries(1, share), 0, share
    limits = {name: limit for name, limit in limits_ms(result).items() if limit}
    if not limits:
        return 0, 0, share
    over = max(int((frame[f"{name}_ms"] > limit).sum()) for name, limit in limits.items())
    hopeless = over > (1 - share) * len(frame)
    return early_stopping_queries(0 if hopeless else over, share), over, share


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 query", "1,200 queries"."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def say_ms(value_ms: float) -> str:
    """A time as a reader would say it: 1.3 ms, 735 ms, 50.2 s."""
    if value_ms >= 1e4:
        return f"{value_ms / 1e3:,.1f} s"
    return f"{value_ms:,.0f} ms" if value_ms >= 100 else f"{value_ms:.3g} ms"


def projections(samples_per_s: float) -> dict[str, float]:
    """Samples an hour and a day at this rate, and hours for the official dataset's samples."""
    return {
        "samples_per_hour": samples_per_s * 3600,
        "samples_per_day": samples_per_s * 86400,
        "full_dataset_hours": FULL_DATASET / samples_per_s / 3600 if samples_per_s else math.inf,
    }
