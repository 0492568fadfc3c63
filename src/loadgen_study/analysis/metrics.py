"""Records to throughput and latencies, by LoadGen's definitions."""

import math

import numpy as np
import pandas as pd

from loadgen_study.analysis.percentiles import PERCENTILES, distribution, queries_needed
from loadgen_study.facts.results import Distribution, Metrics, OutputTokens
from loadgen_study.words import significant
from vllm_loadgen.traits import SCENARIOS, Scenario

METRIC_NAMES = {
    "ttft_ms": "Time to first token (TTFT), ms",
    "tpot_ms": "Time per output token (TPOT), ms",
    "latency_ms": "Latency of a query, ms",
}
MANY_QUERIES = 1000  # from here on a fourth digit is significant
LATENCIES = (*METRIC_NAMES, "queue_ms", "prefill_ms", "decode_ms", "schedule_delay_ms")


def latencies(records: pd.DataFrame) -> pd.DataFrame:
    """Latencies and times of each query; float64, NaN where a query did not get so far.

    LoadGen's definitions: TTFT = first token - scheduled; latency = done - scheduled; TPOT =
    (done - first token) / (output tokens - 1). TTFT from send = first token - given. A TTFT is made
    of schedule_delay (the harness was late), queue (the engine had not begun) and prefill. A query
    that was refused has no latency here; LoadGen takes it for completed and counts the time until
    the refusal (a test with refused queries is never valid).

    Returns:
        (queries,) sample_index, input_tokens, output_tokens, ttft_ms, sent_ttft_ms (from send),
        tpot_ms, latency_ms, schedule_delay_ms, queue_ms, prefill_ms, decode_ms; scheduled_s,
        issued_s, given_s, started_s, first_token_s, done_s since the run's start; replica, where it
        was chosen by the harness.
    """
    names = ("scheduled", "issued", "given", "started", "first_token", "done")
    # Whole ns, exact in float64: a query at its limit is not over it, as in LoadGen.
    stamps = {name: records[f"{name}_ns"].astype("Float64") for name in names}
    at_ns = {name: each.to_numpy(float, na_value=np.nan) for name, each in stamps.items()}
    kept = records.columns.isin(["sample_index", "input_tokens", "output_tokens", "replica"])
    frame = records.loc[:, kept].copy()
    frame["ttft_ms"] = (at_ns["first_token"] - at_ns["scheduled"]) / 1e6
    frame["sent_ttft_ms"] = (at_ns["first_token"] - at_ns["given"]) / 1e6
    latency_ms = pd.Series((at_ns["done"] - at_ns["scheduled"]) / 1e6, frame.index)
    frame["latency_ms"] = latency_ms.where(frame["output_tokens"] > 0)
    frame["decode_ms"] = (at_ns["done"] - at_ns["first_token"]) / 1e6
    gaps = frame["output_tokens"].where(frame["output_tokens"] >= 2) - 1
    frame["tpot_ms"] = frame["decode_ms"] / gaps
    frame["schedule_delay_ms"] = (at_ns["issued"] - at_ns["scheduled"]) / 1e6
    frame["queue_ms"] = np.maximum(at_ns["started"] - at_ns["issued"], 0) / 1e6
    frame["prefill_ms"] = (at_ns["first_token"] - at_ns["started"]) / 1e6
    for name in names:
        frame[f"{name}_s"] = at_ns[name] / 1e9
    return frame


def answered(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Which queries have a whole answer; one that the engine refused ends without a token."""
    return frame["done_s"].notna() & (frame["output_tokens"] > 0)


def metrics(frame: pd.DataFrame, scenario: Scenario, kept: float | None = None) -> Metrics:
    """Throughput and latencies of a test.

    Rates are LoadGen's (loadgen/results.cc): over the time to the last completion; in the Server
    scenario to the completion of the last query issued, where the first query only starts the
    clock: (n - 1) samples, and all tokens, over that time. In SingleStream, where LoadGen divides
    by the time to the last *issue* and so counts the last answer without its time, they are over
    the time to the last completion too: below LoadGen's tokens/s by about one part in n. LoadGen
    rates no accuracy test: it is Offline here, n samples over the time to the last completion.

    Args:
        kept: of ``kept_share``, for the goodput; None where no limit applies, as outside of Server.
    """
    done = frame[answered(frame)]
    duration_s = float(done["done_s"].max()) if len(done) else 0.0
    tokens = int(done["output_tokens"].sum())
    scheduled = SCENARIOS[scenario].scheduled
    server = scheduled and len(done) > 1
    span_s = float(done["done_s"].iloc[-1]) if server else duration_s
    rate = 1 / span_s if span_s else 0.0
    samples_per_s = (len(done) - server) * rate
    due_per_s, issued_per_s = _load_per_s(frame) if scheduled else (None, None)
    return Metrics(
        samples=len(frame),
        completed=len(done),
        duration_s=duration_s,
        samples_per_s=samples_per_s,
        tokens_per_s=tokens * rate,
        input_tokens_per_s=int(done["input_tokens"].sum()) * rate,
        output_tokens=OutputTokens(
            mean=tokens / len(done) if len(done) else math.nan, total=tokens
        ),
        goodput_per_s=None if kept is None else samples_per_s * kept,
        due_per_s=due_per_s,
        issued_per_s=issued_per_s,
        **{name: distribution(frame[name]) for name in LATENCIES},
    )


def _load_per_s(frame: pd.DataFrame) -> tuple[float | None, float | None]:
    """Queries/s that were due and that were issued; None if not known.

    Where the schedule could not be recomputed, each query was recorded as due when it was issued
    (``harness.loadgen.schedule_ns``), which is not a schedule.
    """
    if len(frame) < 2:
        return None, None

    def rate(times: pd.Series) -> float | None:
        span_s = float(times.iloc[-1] - times.iloc[0])
        return (len(times) - 1) / span_s if span_s > 0 else None

    known = bool((frame["scheduled_s"] != frame["issued_s"]).any())
    return rate(frame["scheduled_s"]) if known else None, rate(frame["issued_s"])


def rates_table(metrics: Metrics) -> pd.DataFrame:
    """Completed queries and tokens a second; of a Server test also its goodput and its load."""
    rows = {
        "Completed, queries/s": significant(metrics.samples_per_s),
        "Output tokens/s": significant(metrics.tokens_per_s),
    }
    if metrics.issued_per_s is not None:
        good, due = metrics.goodput_per_s, metrics.due_per_s
        rows |= {
            "Goodput, queries/s": "no limits" if good is None else significant(good),
            "Offered, queries/s": "schedule unknown" if due is None else significant(due),
            "Issued, queries/s": significant(metrics.issued_per_s),
        }
    return pd.DataFrame({"value": rows}).rename_axis("Rate")


def latencies_table(metrics: Metrics) -> pd.DataFrame:
    """Mean, percentiles with their 99 % upper bounds in parentheses, and maximum, ms.

    A percentile that no latency has queries for is left out; else a cell says how many it needs.
    """
    names = dict(METRIC_NAMES)
    if metrics.issued_per_s is not None:
        names["schedule_delay_ms"] = "Issued after it was due, ms"
    rows = {}
    for name, title in names.items():
        known: Distribution = getattr(metrics, name)
        if name == "schedule_delay_ms" and metrics.due_per_s is None:
            known = distribution([])
        rows[title] = {"mean": _shown(known.mean, known.queries)}
        rows[title] |= {label: _bounded(known, label) for label in PERCENTILES}
        rows[title]["max"] = _shown(known.max, known.queries)
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("Latency")
    lacking = [one for one in PERCENTILES if not frame[one].str.contains(r"\d \(").any()]
    return frame.drop(columns=lacking)


def _shown(value: float, queries: int) -> str:
    digits = 3 if queries < MANY_QUERIES else 4
    return "n/a" if math.isnan(value) else significant(value, digits)


def _bounded(known: Distribution, label: str) -> str:
    value, upper = getattr(known, label), getattr(known, f"{label}_upper")
    if not math.isnan(value):
        return f"{_shown(value, known.queries)} ({_shown(upper, known.queries)})"
    return f"needs {queries_needed(PERCENTILES[label]):,} queries" if known.queries else "n/a"


def kept_share(frame: pd.DataFrame, limits_ms: dict[str, float]) -> float:
    """The share of queries, 0 to 1, that kept the limits on both TTFT and TPOT.

    Args:
        limits_ms: of ``early_stopping.limits_ms``.
    """
    kept = answered(frame)
    for name, limit in limits_ms.items():
        if limit:
            # An answer of one token has no TPOT to be over.
            kept &= (frame[f"{name}_ms"] <= limit) | frame[f"{name}_ms"].isna()
    return float(kept.mean()) if len(kept) else 0.0
