"""What LoadGen asks of a valid test, and what would make one of a test that is not."""

import math

import pandas as pd

from loadgen_study.analysis.early_stopping import judged, queries_needed
from loadgen_study.analysis.percentiles import lacking, percentile, upper_bound
from loadgen_study.findings.finding import Finding
from loadgen_study.findings.overload import overloaded
from loadgen_study.results.test import Test
from vllm_loadgen.words import count, say_ms


def errors(test: Test) -> Finding | None:
    """What LoadGen logged as an error, of which its verdict takes no account."""
    result = test.result
    if not result.num_errors:
        return None
    lines = [line[:200] for line in result.error_lines[:1]]
    return Finding(
        "problem",
        "LoadGen logged errors",
        "; first: ".join([count(result.num_errors, "error"), *lines]),
        "Do not use this run: LoadGen's verdict does not take logged errors into account.",
        doubts=True,
    )


def refusals(test: Test) -> Finding | None:
    """Queries that the engine would not answer, whatever else makes a test invalid."""
    result = test.result
    if not result.refused:
        return None
    return Finding(
        "problem",
        "The engine refused queries",
        f"{result.refused} of {count(result.queries, 'query')}; its first reasons: "
        + "; ".join(reason[:200] for reason in result.refused_because),
        "Remove the cause and run again: such a run is never valid.",
        doubts=True,
    )


def limit(test: Test, name: str) -> Finding | None:
    """Whether "ttft" or "tpot" keeps its limit, at the percentile that LoadGen judges by."""
    load, values = test.load, test.latencies[f"{name}_ms"]
    limit_ms, share = judged(test.result, name)
    actual = percentile(values, share)
    if not limit_ms or math.isnan(actual):
        return None
    over, title = int((values > limit_ms).sum()), name.upper()
    evidence = (
        f"{over} of {count(len(values), 'query')} {'is' if over == 1 else 'are'} over the limit "
        f"of {say_ms(limit_ms)}; {_at(values, share, limit_ms)}"
    )
    if actual <= limit_ms:
        return Finding("good", f"{title} keeps its limit", evidence, "")
    served = f" below the {load.served_per_s:.2g} queries/s that were served"
    return Finding(
        "problem",
        f"{title} exceeds its limit",
        evidence,
        f"Lower target_qps{served if overloaded(test) else ''}, or raise the capacity.",
    )


def _at(values: pd.Series, share: float, limit_ms: float) -> str:
    """The percentile with its bound and its distance from the limit, or what it lacks."""
    if lacks := lacking(int(values.count()), share):
        return lacks
    actual, bound = percentile(values, share), upper_bound(values, share)
    apart = f"{say_ms(abs(actual - limit_ms))} {'over' if actual > limit_ms else 'under'} it"
    return f"p{share * 100:g} is {say_ms(actual)}, {apart} (at most {say_ms(bound)})"


def early_stopping(test: Test) -> Finding | None:
    """Whether there are queries enough to be sure of the percentile."""
    result, frame = test.result, test.latencies
    needed, over, share = queries_needed(result, frame)
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


def what_would_make_valid(test: Test) -> list[str]:
    """What LoadGen (and errors that it only logs) asks of a valid test; empty if this is one."""
    result = test.result
    if result.verdict == "VALID" and not result.num_errors:
        return []
    if not result.complete:
        return [f"The run is {result.status}: run it to its end."]
    queries, log = len(test.latencies), result.loadgen_results
    logged = errors(test)
    steps = [f"Remove the cause of what LoadGen logged: {logged.evidence}."] if logged else []
    if log.min_duration_met is False:
        steps.append(_longer(test))
    least = result.effective_settings.min_query_count or 0
    if log.min_queries_met is False and queries < least:
        steps.append(f"Issue {count(least - queries, 'more query')}: {least:,} are asked for.")
    for fault in (limit(test, "ttft"), limit(test, "tpot"), early_stopping(test)):
        if fault and fault.severity == "problem":
            steps.append(f"{fault.title}: {fault.evidence}. {fault.action}")
    return steps or ["LoadGen gives its reasons in the summary log."]


def _longer(test: Test) -> str:
    """By how much the test was too short, on LoadGen's basis, and how it gets longer."""
    scenario = test.result.scenario
    basis = {"Server": "scheduled_s", "SingleStream": "issued_s", "Offline": "done_s"}
    asked_s = (test.result.effective_settings.min_duration_ms or 0) / 1e3
    lasted_s = float(test.latencies[basis[scenario]].max())
    latency_ms, rate = test.metrics.latency_ms.mean, test.metrics.samples_per_s
    # LoadGen plans its queries from these before it starts.
    cures = {
        "Server": "raise min_query_count",
        "SingleStream": f"set target_latency_ms near the {latency_ms:.0f} ms of this run",
        "Offline": f"set target_qps near the {rate:.3g} queries/s of this run",
    }
    return (
        f"The test must last {asked_s:,.0f} s and lasted {lasted_s:,.1f} s, "
        f"{asked_s - lasted_s:,.1f} s too short: {cures[scenario]}."
    )
