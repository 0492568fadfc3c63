"""Records to figures: latencies, throughput, load over time, early stopping, projections."""

import math
from typing import Any

import numpy as np
import pandas as pd

# Samples of the official dataset (cnn_dailymail 3.0.0, validation, as MLCommons cut it).
FULL_DATASET = 13_368
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# LoadGen's early stopping: confidence 0.99 that the percentile holds (early_stopping.cc).
CONFIDENCE = 0.99
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
    at_s = {name: records[f"{name}_ns"].astype("Float64").to_numpy(float, na_value=np.nan) / 1e9
            for name in names}  # fmt: skip
    frame = records[["sample_index", "input_tokens", "output_tokens"]].copy()
    frame["ttft_ms"] = (at_s["first_token"] - at_s["scheduled"]) * 1e3
    frame["latency_ms"] = (at_s["done"] - at_s["scheduled"]) * 1e3
    frame["decode_ms"] = (at_s["done"] - at_s["first_token"]) * 1e3
    gaps = frame["output_tokens"].where(frame["output_tokens"] >= 2) - 1
    frame["tpot_ms"] = frame["decode_ms"] / gaps
    frame["schedule_delay_ms"] = (at_s["issued"] - at_s["scheduled"]) * 1e3
    frame["queue_ms"] = np.maximum(at_s["started"] - at_s["issued"], 0) * 1e3
    frame["prefill_ms"] = (at_s["first_token"] - at_s["started"]) * 1e3
    for name in names:
        frame[f"{name}_s"] = at_s[name]
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
    clock: (n - 1) samples, and all tokens, over that time.

    Returns:
        samples, completed, duration_s, samples_per_s, tokens_per_s, input_tokens_per_s,
        output_tokens {mean, total}, and ttft_ms, tpot_ms, latency_ms, queue_ms, prefill_ms,
        schedule_delay_ms as {mean, p50, p90, p99, min, max}.
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
    for name in (*METRIC_NAMES, "queue_ms", "prefill_ms", "schedule_delay_ms"):
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
    table = pd.DataFrame(rows).T.fillna("")
    table.index.name = "Metric"
    return table[["mean", *PERCENTILES]]


def load_over_time(records: pd.DataFrame, points: int = 200) -> pd.DataFrame:
    """How many queries were where, at ``points`` instants over the test.

    Returns:
        (points,) time_s, arrived, completed, waiting (no prefill yet; no first token yet where
        the engine does not tell), in_flight (arrived and not completed).
    """
    frame = latencies(records)
    begun = frame["started_s"].fillna(frame["first_token_s"])
    end_s = np.nanmax([frame["scheduled_s"].max(), frame["done_s"].max(), 1e-9])
    time_s = np.linspace(0, end_s, points)

    def count(times: pd.Series) -> np.ndarray:
        return np.searchsorted(np.sort(times.dropna()), time_s, side="right")

    arrived, completed = count(frame["scheduled_s"]), count(frame["done_s"])
    return pd.DataFrame(
        {
            "time_s": time_s,
            "arrived": arrived,
            "completed": completed,
            "waiting": arrived - count(begun),
            "in_flight": arrived - completed,
        }
    )


def arrivals_vs_service(records: pd.DataFrame) -> dict[str, float]:
    """Whether the queue grows: rates and queue over the time in which queries arrived.

    Returns:
        arrivals_per_s; completions_per_s while they arrived; served_per_s (completions over the
        time in which the system was not idle); queue_growth_per_s (least-squares slope of the
        queries in the system, while they arrived); peak_in_flight, peak_waiting, peak_served and
        mean_served: queries in the system, before prefill, and in the engine at once.
    """
    frame = latencies(records)
    last_s = float(frame["scheduled_s"].max())
    load = load_over_time(records, points=400)
    arriving = load[load["time_s"] <= last_s]
    slope = 0.0
    if last_s > 0 and len(arriving) > 2:
        slope = float(np.polyfit(arriving["time_s"], arriving["in_flight"], 1)[0])
    done_by_then = int((frame["done_s"] <= last_s).sum())
    end_s = float(frame["done_s"].max())
    served = load["in_flight"] - load["waiting"]
    busy = float((load["in_flight"] > 0).mean())
    return {
        "arrivals_per_s": (len(frame) - 1) / last_s if last_s > 0 else math.inf,
        "completions_per_s": done_by_then / last_s if last_s > 0 else 0.0,
        "served_per_s": float(frame["done_s"].count() / (end_s * busy)) if end_s and busy else 0.0,
        "queue_growth_per_s": slope,
        "peak_in_flight": float(load["in_flight"].max()),
        "peak_waiting": float(load["waiting"].max()),
        "peak_served": float(served.max()),
        "mean_served": float(served[load["in_flight"] > 0].mean()),
    }


def violations_allowed(queries: int, share: float) -> int:
    """Most queries over a limit that LoadGen's early stopping accepts; -1 if none will do.

    LoadGen accepts ``t`` violations of ``n`` queries if, were the true share of violations
    (1 - share), seeing so few would have a probability of at most 1 - CONFIDENCE:
    P[Binomial(n, 1 - share) <= t] <= 0.01 (loadgen/early_stopping.cc, there by the incomplete
    beta function).
    """
    rate = 1 - share
    log_term = queries * math.log1p(-rate)
    cumulative, allowed = 0.0, -1
    for violations in range(queries + 1):
        cumulative += math.exp(log_term)
        if cumulative > 1 - CONFIDENCE:
            return allowed
        allowed = violations
        log_term += (
            math.log((queries - violations) / (violations + 1) * rate / (1 - rate))
            if (violations < queries)
            else 0.0
        )
    return allowed


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


def projections(samples_per_s: float) -> dict[str, float]:
    """Samples an hour and a day at this rate, and hours for the official dataset's samples."""
    return {
        "samples_per_hour": samples_per_s * 3600,
        "samples_per_day": samples_per_s * 86400,
        "full_dataset_hours": FULL_DATASET / samples_per_s / 3600 if samples_per_s else math.inf,
    }
