"""What a run's data say: findings with evidence and one action each, and the report's sentences.

Every sentence is computed from the run, and none is written where the data do not carry it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vllm_loadgen.analysis import metrics as analysis
from vllm_loadgen.analysis.metrics import count, say_ms

# A queue that a steady system would not build: this share of arrivals piles up.
GROWTH_SHARE = 0.1
TREND_QUERIES = 10  # fewer tell nothing of a trend
# Between its middle and its last third (analysis._rise_s) a run above capacity gets slower by
# 0.037 of its length at GROWTH_SHARE; half of that is left to chance.
RISE_SHARE = 0.02
# A run of fewer latencies than this is all ramp: queries pile up in it with or without a limit.
RAMP = 5
SERIAL_SHARE = 0.1
LATE_MS = 10.0
LATE_SHARE = 0.05
# A p99 says something from as many queries on; a tail is worth a word at that multiple of p50.
TAIL_QUERIES = 100
TAIL = 5
SEVERITIES = ("problem", "note", "good")


@dataclass(frozen=True)
class Finding:
    """One thing that the data show.

    Attributes:
        severity: "problem", "note" or "good".
        title: what it is. evidence: the figures. action: what to do; may be empty.
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
    records: pd.DataFrame,
    result: dict[str, Any],
    params: dict[str, Any],
    impossible: Sequence[str] = (),
) -> list[Finding]:
    """All findings of one test, problems first.

    Args:
        records: one row a query. result: result.json. params: the run's parameters.
        impossible: of ``limits.impossible``, if the machine's limits were measured.
    """
    if records.empty:
        evidence = f"the run is {result['status']}"
        return [Finding("problem", "No query was issued", evidence, "Run it again.")]
    frame = analysis.latencies(records)
    metrics = analysis.metrics(records, result["scenario"])
    load = analysis.arrivals_vs_service(records)
    found = [
        _errors(result),
        _unfinished(metrics),
        _impossible(impossible),
        _overload(result, metrics, load, frame),
        _serial(result, load, params),
        _first_token_share(result, metrics),
        _phase(metrics),
        _limit(result, frame, load, "ttft"),
        _limit(result, frame, load, "tpot"),
        _early_stopping(result, frame),
        _late_harness(result, metrics),
        _tail(result, frame, load),
        _short_answers(frame),
        _capped(frame, params),
    ]
    return by_severity([finding for finding in found if finding])


def by_severity(found: list[Finding]) -> list[Finding]:
    """Problems first, then notes, then what is good."""
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def overloaded(result: dict[str, Any], load: dict[str, float], queries: int) -> bool:
    """Whether queries arrived faster than they were served; False where the run cannot tell.

    A queue that grows while queries arrive is not enough: queries that take long pile up in any
    short run. They must also be getting slower to its end.
    """
    return (
        result["scenario"] == "Server"
        and queries >= TREND_QUERIES
        and load["queue_growth_per_s"] > GROWTH_SHARE * load["arrivals_per_s"]
        and load["completions_per_s"] < (1 - GROWTH_SHARE) * load["arrivals_per_s"]
        and load["served_per_s"] < load["arrivals_per_s"]
        and _ever_slower(load)
    )


def _ever_slower(load: dict[str, float]) -> bool:
    least_s = RISE_SHARE * load["window_s"]
    if load["queue_rise_s"] > max(least_s, load["fastest_s"] / 2):
        return True
    return load["latency_rise_s"] > least_s and load["window_s"] > RAMP * load["fastest_s"]


def _errors(result: dict[str, Any]) -> Finding | None:
    if not result.get("num_errors"):
        return None
    lines = [line[:200] for line in result.get("error_lines", [])[:1]]
    return Finding(
        "problem",
        "LoadGen logged errors",
        "; first: ".join([count(result["num_errors"], "error"), *lines]),
        "Do not use this run: LoadGen's verdict does not take logged errors into account.",
    )


def _impossible(sentences: Sequence[str]) -> Finding | None:
    if not sentences:
        return None
    return Finding(
        "problem",
        "Faster than this machine can be",
        " ".join(sentences),
        "Do not use this run: measure the limits again (setup.ipynb), check counts and options.",
    )


def _unfinished(metrics: dict[str, Any]) -> Finding | None:
    if not (missing := metrics["samples"] - metrics["completed"]):
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
    return Finding(
        "problem",
        "Overloaded: arrivals exceed capacity",
        f"{load['arrivals_per_s']:.3g} queries/s arrived, {load['served_per_s']:.3g} were served; "
        f"the queries in the system grew by {load['queue_growth_per_s']:.2g} a second to "
        f"{load['peak_in_flight']:.0f}{_queueing(metrics, frame)}",
        f"Lower target_qps below {load['served_per_s']:.2g}, or raise the capacity. Latencies of "
        "such a run grow with its length.",
    )


def _queueing(metrics: dict[str, Any], frame: pd.DataFrame) -> str:
    """That the first tokens were late by queueing, if they were, and why it is nothing else."""
    ttft, queue = metrics["ttft_ms"], metrics["queue_ms"]["mean"]
    told = not math.isnan(queue)
    waited = queue if told else ttft["mean"] - ttft["min"]
    if not waited > ttft["mean"] / 2:
        return ""
    how = (
        f"against {say_ms(metrics['prefill_ms']['mean'])} of prefill"
        if told
        else f"if each could be as fast as the fastest, {say_ms(ttft['min'])} (the engine does not "
        "tell when it began a query)"
    )
    third = len(frame) // 3
    early, late = frame["ttft_ms"].head(third).mean(), frame["ttft_ms"].tail(third).mean()
    trend = (
        f". The first third of the queries had its first token after {say_ms(early)}, the last "
        f"after {say_ms(late)}: the loading of a model would have delayed the first"
    )
    return (
        f"; most of the TTFT is queueing: {say_ms(waited)} of {say_ms(ttft['mean'])} on average, "
        f"{how}{trend if late > early else ''}"
    )


def _serial(
    result: dict[str, Any], load: dict[str, float], params: dict[str, Any]
) -> Finding | None:
    if result["scenario"] == "SingleStream" or load["peak_served"] > 1:
        return None
    if load["serial_share"] < SERIAL_SHARE:
        return None
    allowed = params.get("max_num_seqs")
    return Finding(
        "problem",
        "One query in flight: the engine serves serially",
        f"up to {load['peak_in_flight']:.0f} queries were in the system and never more than one "
        f"was being answered; others waited behind it for {load['serial_share']:.0%} of the time",
        "Batch: raise max_num_seqs from 1."
        if allowed == 1
        else "Batch: hand every query to the engine as it comes, and let it run several at once "
        f"(max_num_seqs: {allowed or 'the default'}).",
    )


def _first_token_share(result: dict[str, Any], metrics: dict[str, Any]) -> Finding | None:
    parts = {
        "late issue": metrics["schedule_delay_ms"]["mean"],
        "queueing": metrics["queue_ms"]["mean"],
        "prefill": metrics["prefill_ms"]["mean"],
    }
    ttft = metrics["ttft_ms"]["mean"]
    if any(map(math.isnan, parts.values())) or result["scenario"] == "Offline" or not ttft:
        return None
    largest = max(parts, key=parts.get)
    actions = {
        "late issue": "See to the harness: the engine had not even been asked.",
        "queueing": "Lower the rate or raise the batch limits.",
        "prefill": "Shorter prompts, a faster matrix rate or less work beside it would shorten it.",
    }
    return Finding(
        "note",
        f"The first token is mostly {largest}",
        f"mean TTFT {say_ms(ttft)} = {say_ms(parts['late issue'])} until issued + "
        f"{say_ms(parts['queueing'])} in the engine's queue + {say_ms(parts['prefill'])} prefill",
        actions[largest],
    )


def _phase(metrics: dict[str, Any]) -> Finding | None:
    """Where queries spend their time in the engine; not what the hardware is bound by."""
    prefill, decode = metrics["prefill_ms"]["mean"], metrics["decode_ms"]["mean"]
    if not prefill + decode > 0:  # or not known
        return None
    share = decode / (prefill + decode)
    larger = "decode" if share >= 0.5 else "prefill"
    return Finding(
        "note",
        f"Answering is mostly {larger}",
        f"on average a query spends {say_ms(prefill)} in prefill and {say_ms(decode)} in decode "
        f"({share:.0%} of its time in the engine)",
        "Shorten decode: its share of the bandwidth limit tells whether bytes or overhead bind it."
        if larger == "decode"
        else "Prompts cost more than answers: the matrix rate counts, not the bandwidth.",
    )


def _limit(
    result: dict[str, Any], frame: pd.DataFrame, load: dict[str, float], name: str
) -> Finding | None:
    limit_ms, share = analysis.judged(result, name)
    actual = analysis.percentile(frame[f"{name}_ms"], share)
    if not limit_ms or math.isnan(actual):
        return None
    title, is_at = name.upper(), f"p{share * 100:g} is {say_ms(actual)}"
    if actual <= limit_ms:
        evidence = f"{is_at}, the limit {say_ms(limit_ms)}"
        room = f"There is {1 - actual / limit_ms:.0%} of room."
        return Finding("good", f"{title} keeps its limit", evidence, room)
    over = int((frame[f"{name}_ms"] > limit_ms).sum())
    served = f" below the {load['served_per_s']:.2g} queries/s that were served"
    return Finding(
        "problem",
        f"{title} exceeds its limit",
        f"{is_at}, {say_ms(actual - limit_ms)} over the limit of {say_ms(limit_ms)}; {over} of "
        f"{count(len(frame), 'query')} are over it",
        f"Lower target_qps{served if overloaded(result, load, len(frame)) else ''}, or raise the "
        "capacity.",
    )


def _early_stopping(result: dict[str, Any], frame: pd.DataFrame) -> Finding | None:
    needed, over, share = analysis.queries_needed(result, frame)
    if len(frame) >= needed:
        return None
    too_slow = over > (1 - share) * len(frame)
    return Finding(
        "problem",
        "Too few queries for early stopping",
        f"{count(len(frame), 'query')}, {over} of them over a limit; for p{share * 100:g} "
        f"LoadGen asks for {needed:,} "
        + ("even if none is over" if too_slow or not over else f"with {over} over"),
        f"Raise min_query_count to {needed} ({needed - len(frame):,} more)"
        + (", after the rate is low enough for the limits." if too_slow else "."),
    )


def _late_harness(result: dict[str, Any], metrics: dict[str, Any]) -> Finding | None:
    delay, ttft = metrics["schedule_delay_ms"], metrics["ttft_ms"]["mean"]
    if result["scenario"] != "Server" or not (delay["p99"] >= LATE_MS and ttft > 0):
        return None
    share = delay["mean"] / ttft
    return Finding(
        "problem" if share >= LATE_SHARE else "note",
        "The harness itself was late",
        f"queries were issued {say_ms(delay['mean'])} after their due time on average, p99 "
        f"{say_ms(delay['p99'])}; that is {share:.1%} of the mean TTFT",
        "Leave the machine to the benchmark, or give the engine fewer threads.",
    )


def _tail(result: dict[str, Any], frame: pd.DataFrame, load: dict[str, float]) -> Finding | None:
    """A long tail of first tokens, with the part of the TTFT that makes it."""
    known = frame.dropna(subset=["ttft_ms"])
    if result["scenario"] == "Offline" or len(known) < TAIL_QUERIES:
        return None
    p50, p99 = (analysis.percentile(known["ttft_ms"], share) for share in (0.5, 0.99))
    if overloaded(result, load, len(frame)) or not p99 > TAIL * p50:
        return None
    slowest = known.nlargest(max(1, len(known) // 100), "ttft_ms")
    parts = {"schedule_delay_ms": "late issue", "queue_ms": "queueing", "prefill_ms": "prefill"}
    means = slowest[list(parts)].mean()
    cause = "" if means.isna().any() else f"; theirs is mostly {parts[means.idxmax()]}"
    return Finding(
        "note",
        "A long tail of first tokens",
        f"p99 is {say_ms(p99)}, {p99 / p50:.1f} times the median of {say_ms(p50)}{cause}",
        "Look at the slowest queries in the timeline, and at what ran beside them.",
    )


def _short_answers(frame: pd.DataFrame) -> Finding | None:
    done = frame[frame["done_s"].notna()]
    none, one = (int((done["output_tokens"] == tokens).sum()) for tokens in (0, 1))
    if not none + one:
        return None
    return Finding(
        "problem" if none else "note",
        "Answers without a token" if none else "Answers of a single token",
        f"{one} of {count(len(done), 'answer')} have one token and {none} have none: they have no "
        "TPOT and are left out of it here, but LoadGen counts them in its own",
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
        "" if cap == 128 else "Compare equal caps only: the official task has 128.",
    )


def what_would_make_valid(result: dict[str, Any], records: pd.DataFrame) -> list[str]:
    """What LoadGen (and errors that it only logs) asks of a valid run; empty if this is one."""
    if result.get("verdict") == "VALID" and not result.get("num_errors"):
        return []
    if result["status"] != "complete":
        return [f"The run is {result['status']}: run it to its end."]
    frame = analysis.latencies(records)
    log = result.get("loadgen_results", {})
    errors = _errors(result)
    steps = [f"Remove the cause of what LoadGen logged: {errors.evidence}."] if errors else []
    if log.get("min_duration_met") is False:
        steps.append(_longer(result, frame, analysis.metrics(records, result["scenario"])))
    least = result.get("effective_settings", {}).get("min_query_count", 0)
    if log.get("min_queries_met") is False and len(frame) < least:
        steps.append(f"Issue {count(least - len(frame), 'more query')}: {least:,} are asked for.")
    load = analysis.arrivals_vs_service(records)
    judged = [_limit(result, frame, load, name) for name in ("ttft", "tpot")]
    for fault in [*judged, _early_stopping(result, frame)]:
        if fault and fault.severity == "problem":
            steps.append(f"{fault.title}: {fault.evidence}. {fault.action}")
    return steps or ["LoadGen gives its reasons in the summary log."]


def _longer(result: dict[str, Any], frame: pd.DataFrame, metrics: dict[str, Any]) -> str:
    """By how much the test was too short, on LoadGen's basis, and how it gets longer."""
    basis = {"Server": "scheduled_s", "SingleStream": "issued_s", "Offline": "done_s"}
    asked_s = result["effective_settings"]["min_duration_ms"] / 1e3
    lasted_s = float(frame[basis[result["scenario"]]].max())
    latency_ms, rate = metrics["latency_ms"]["mean"], metrics["samples_per_s"]
    # LoadGen plans its queries from these before it starts.
    cures = {
        "Server": "raise min_query_count",
        "SingleStream": f"set target_latency_ms near the {latency_ms:.0f} ms of this run",
        "Offline": f"set target_qps near the {rate:.3g} samples/s of this run",
    }
    return (
        f"The test must last {asked_s:,.0f} s and lasted {lasted_s:,.1f} s, "
        f"{asked_s - lasted_s:,.1f} s too short: {cures[result['scenario']]}."
    )


def recommendations(found: list[Finding]) -> list[str]:
    """The actions of the problems, else of the notes, as sentences; findings may ask for none."""
    for severity in ("problem", "note"):
        if asked := [f for f in found if f.severity == severity and f.action]:
            return [f"{finding.title}: {finding.action}" for finding in asked]
    return ["Nothing: no finding of this run asks for a change."]
