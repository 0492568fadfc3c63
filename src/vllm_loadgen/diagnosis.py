"""What a run's data say: findings with evidence and one action each, and the report's sentences.

Every sentence is computed from the run, and none is written where the data do not carry it.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vllm_loadgen import analysis

# A queue that a steady system would not build: this share of arrivals piles up.
GROWTH_SHARE = 0.1
# Fewer queries tell nothing of a trend.
TREND_QUERIES = 10
LATE_MS = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing that the data show.

    Attributes:
        severity: "problem", "note" or "good".
        title: what it is. evidence: the figures. action: what to do.
    """

    severity: str
    title: str
    evidence: str
    action: str


def table(findings: list[Finding]) -> pd.DataFrame:
    """Findings for display."""
    columns = {"severity": "", "title": "Finding", "evidence": "Evidence", "action": "Action"}
    return pd.DataFrame([vars(f) for f in findings], columns=list(columns)).rename(columns=columns)


def findings(
    records: pd.DataFrame, result: dict[str, Any], params: dict[str, Any]
) -> list[Finding]:
    """All findings of one test, problems first.

    Args:
        records: one row a query. result: result.json. params: the run's parameters.
    """
    frame = analysis.latencies(records)
    metrics = analysis.metrics(records, result["scenario"])
    load = analysis.arrivals_vs_service(records)
    found = [
        _errors(result),
        _unfinished(metrics),
        _overload(result, metrics, load, frame),
        _serial(result, load, params),
        _first_token_share(result, metrics),
        _limit(result, metrics, "ttft"),
        _limit(result, metrics, "tpot"),
        _early_stopping(result, frame),
        _late_harness(result, metrics),
        _short_answers(frame),
        _capped(frame, params),
    ]
    order = ("problem", "note", "good")
    return sorted((f for f in found if f), key=lambda finding: order.index(finding.severity))


def overloaded(result: dict[str, Any], load: dict[str, float], queries: int) -> bool:
    """Whether queries arrived faster than they were served, by the growth of the queue."""
    return (
        result["scenario"] == "Server"
        and queries >= TREND_QUERIES
        and load["queue_growth_per_s"] > GROWTH_SHARE * load["arrivals_per_s"]
        and load["completions_per_s"] < (1 - GROWTH_SHARE) * load["arrivals_per_s"]
    )


def _errors(result: dict[str, Any]) -> Finding | None:
    if not result.get("num_errors"):
        return None
    lines = "; ".join(result.get("error_lines", [])[:2])
    return Finding(
        "problem",
        "LoadGen logged errors",
        f"{result['num_errors']} errors, the first: {lines}",
        "Do not use this run: LoadGen's verdict does not take logged errors into account.",
    )


def _unfinished(metrics: dict[str, Any]) -> Finding | None:
    missing = metrics["samples"] - metrics["completed"]
    if not missing:
        return None
    return Finding(
        "problem",
        "The run did not finish",
        f"{missing} of {metrics['samples']} queries have no answer",
        "Run again; the figures cover the answered queries only.",
    )


def _overload(
    result: dict[str, Any], metrics: dict[str, Any], load: dict[str, float], frame: pd.DataFrame
) -> Finding | None:
    if not overloaded(result, load, len(frame)):
        return None
    waits_s = _waiting_ms(metrics) / 1e3
    return Finding(
        "problem",
        "Overloaded: arrivals exceed capacity",
        f"{load['arrivals_per_s']:.3g} queries/s arrived, {load['served_per_s']:.3g} were served; "
        f"the queries in the system grew by {load['queue_growth_per_s']:.2g} a second; on average "
        f"a query waited {waits_s:.3g} s before its prefill, so most of the TTFT is queueing"
        if waits_s * 1e3 > 0.5 * metrics["ttft_ms"]["mean"]
        else f"{load['arrivals_per_s']:.3g} queries/s arrived, {load['served_per_s']:.3g} were "
        f"served; the queries in the system grew by {load['queue_growth_per_s']:.2g} a second",
        f"Lower target_qps below {load['served_per_s']:.2g}, or raise the capacity.",
    )


def _waiting_ms(metrics: dict[str, Any]) -> float:
    """Mean time before prefill; where the engine does not tell, what exceeds the fastest TTFT."""
    queue_ms = metrics["queue_ms"]["mean"]
    if not math.isnan(queue_ms):
        return queue_ms
    return metrics["ttft_ms"]["mean"] - metrics["ttft_ms"]["min"]


def _serial(
    result: dict[str, Any], load: dict[str, float], params: dict[str, Any]
) -> Finding | None:
    if result["scenario"] == "SingleStream" or load["peak_in_flight"] < 2:
        return None
    if load["peak_served"] > 1:
        return None
    return Finding(
        "problem",
        "One query in flight: the engine serves serially",
        f"up to {load['peak_in_flight']:.0f} queries were in the system, never more than one of "
        "them was being answered",
        f"Batch: raise max_num_seqs (now {params.get('max_num_seqs') or 'the default'}).",
    )


def _first_token_share(result: dict[str, Any], metrics: dict[str, Any]) -> Finding | None:
    ttft, queue = metrics["ttft_ms"]["mean"], metrics["queue_ms"]["mean"]
    prefill, delay = metrics["prefill_ms"]["mean"], metrics["schedule_delay_ms"]["mean"]
    if math.isnan(queue) or result["scenario"] == "Offline" or not ttft:
        return None
    larger = "queueing" if queue > prefill else "prefill"
    return Finding(
        "note",
        f"The first token is mostly {larger}",
        f"mean TTFT {ttft:.0f} ms = {delay:.1f} ms until issued + {queue:.0f} ms in the engine's "
        f"queue + {prefill:.0f} ms of prefill",
        "Lower the rate or raise the batch limits."
        if larger == "queueing"
        else "Shorter prompts, a faster matrix rate or smaller prefill chunks would shorten it.",
    )


def _limit(result: dict[str, Any], metrics: dict[str, Any], name: str) -> Finding | None:
    settings = result.get("effective_settings", {})
    limit_ms = settings.get(f"{name}_latency", 0) / 1e6
    if result["scenario"] != "Server" or not limit_ms:
        return None
    share = settings.get("target_latency_percentile", 0.99)
    actual = metrics[f"{name}_ms"].get(f"p{share * 100:.0f}", metrics[f"{name}_ms"]["p99"])
    over = actual > limit_ms
    return Finding(
        "problem" if over else "good",
        f"{name.upper()} {'exceeds' if over else 'keeps'} its limit",
        f"p{share * 100:g} is {actual:.0f} ms, the limit {limit_ms:.0f} ms",
        "Lower target_qps." if over else f"There is {1 - actual / limit_ms:.0%} of room.",
    )


def _early_stopping(result: dict[str, Any], frame: pd.DataFrame) -> Finding | None:
    settings = result.get("effective_settings", {})
    if result["scenario"] != "Server" or "ttft_latency" not in settings:
        return None
    share = settings.get("target_latency_percentile", 0.99)
    over = violations(frame, settings)
    needed = analysis.early_stopping_queries(over, share)
    if len(frame) >= needed:
        return None
    return Finding(
        "problem",
        "Too few queries for early stopping",
        f"{len(frame)} queries with {over} over a limit; at the {share:.0%} percentile LoadGen "
        f"asks for {needed} queries with so many",
        f"Raise min_query_count to {needed} (about {needed - len(frame)} more queries).",
    )


def violations(frame: pd.DataFrame, settings: dict[str, Any]) -> int:
    """Queries over a limit: the worse of TTFT and TPOT, as each must hold by itself."""
    ttft = (frame["ttft_ms"] > settings["ttft_latency"] / 1e6).sum()
    tpot = (frame["tpot_ms"] > settings["tpot_latency"] / 1e6).sum()
    return int(max(ttft, tpot))


def _late_harness(result: dict[str, Any], metrics: dict[str, Any]) -> Finding | None:
    delay = metrics["schedule_delay_ms"]
    if result["scenario"] != "Server" or delay["p99"] < LATE_MS:
        return None
    return Finding(
        "problem",
        "The harness itself was late",
        f"queries were issued {delay['mean']:.1f} ms after their due time on average, p99 "
        f"{delay['p99']:.1f} ms; that is part of their TTFT",
        "Leave the machine to the benchmark, or give the engine fewer threads.",
    )


def _short_answers(frame: pd.DataFrame) -> Finding | None:
    short = int((frame["done_s"].notna() & (frame["output_tokens"] < 2)).sum())
    if not short:
        return None
    return Finding(
        "note",
        "Answers of a single token",
        f"{short} of {len(frame)} queries; they have no time per output token",
        "Look at their prompts; raise min_new_tokens if they are a fault.",
    )


def _capped(frame: pd.DataFrame, params: dict[str, Any]) -> Finding | None:
    done = frame.dropna(subset=["done_s"])
    cap = params.get("max_new_tokens", 128)
    if done.empty:
        return None
    share = float((done["output_tokens"] >= cap).mean())
    return Finding(
        "note",
        "How the answers end",
        f"{share:.0%} of the answers stop at max_new_tokens = {cap}; "
        f"the mean is {done['output_tokens'].mean():.0f} tokens",
        "Nothing: the official task has the same cap."
        if cap == 128
        else "Compare equal caps only.",
    )


def what_would_make_valid(result: dict[str, Any], records: pd.DataFrame) -> list[str]:
    """What would turn this INVALID run into a valid one; empty if it is valid."""
    if result.get("verdict") == "VALID" and not result.get("num_errors"):
        return []
    settings, log = result.get("effective_settings", {}), result.get("loadgen_results", {})
    steps = []
    if result["status"] != "complete":
        return [f"The run is {result['status']}: run it to its end."]
    if log.get("min_duration_met") is False:
        steps.append(
            f"Let it last {settings['min_duration_ms'] / 1e3:.0f} s: "
            + ("set target_qps near the real rate, " if result["scenario"] == "Offline" else "")
            + f"it lasted {result['duration_s']:.0f} s."
        )
    if log.get("min_queries_met") is False:
        steps.append(f"Issue at least {settings['min_query_count']} queries.")
    steps += [
        f"{f.title} ({f.evidence}). {f.action}"
        for f in findings(records, result, {})
        if f.severity == "problem"
    ]
    return steps or ["LoadGen gives its reasons in the summary log."]


def recommendations(found: list[Finding]) -> list[str]:
    """The actions of the problems, then of the notes, as sentences."""
    return [f"{f.title}: {f.action}" for f in found if f.severity == "problem"] or [
        f"{f.title}: {f.action}" for f in found if f.severity == "note"
    ]
