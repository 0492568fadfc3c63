"""What the queries of a test say: where their time went, and what went wrong."""

import math
from collections.abc import Sequence

import pandas as pd

from loadgen_study.analysis.early_stopping import judged, queries_needed
from loadgen_study.analysis.percentiles import (
    PERCENTILES,
    lacking,
    percentile,
    say,
    say_tail,
    tail,
    upper_bound,
)
from loadgen_study.findings.finding import Finding, Found, finding
from loadgen_study.findings.overload import full_steps, issued_per_s, offered, overloaded
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.words import count, percent, say_ms
from vllm_loadgen.http.routes import USUAL

SERIAL_SHARE = 0.1
LATE_MS = 10.0
LATE_SHARE = 0.05
# A tail is reported from this multiple of p50.
TAIL = 5


@finding("no-queries", "problem", "No query issued", needs=("test",), doubts=True)
def _no_queries(test: Test) -> Found:
    return (f"the run is {test.result.status}", "Run it again.") if test.latencies.empty else None


@finding("loadgen-errors", "problem", "Errors in LoadGen's log", doubts=True)
def errors(test: Test) -> Found:
    """What LoadGen logged as an error; its verdict ignores such errors."""
    result = test.result
    if not result.num_errors:
        return None
    lines = [line[:200] for line in result.error_lines[:1]]
    return (
        "; first: ".join([count(result.num_errors, "error"), *lines]),
        "Do not use this run: LoadGen's verdict does not take logged errors into account.",
    )


@finding("refused-queries", "problem", "Queries refused by the engine", doubts=True)
def refusals(test: Test) -> Found:
    """Queries that the engine would not answer, whatever else makes a test invalid."""
    result = test.result
    if not result.refused:
        return None
    return (
        f"{result.refused} of {count(result.queries, 'query')}; its first reasons: "
        + "; ".join(reason[:200] for reason in result.refused_because),
        "Remove the cause and run again: such a run is never valid.",
    )


@finding("unfinished", "problem", "Test not finished", doubts=True)
def _unfinished(test: Test) -> Found:
    metrics = test.metrics
    if not (missing := metrics.samples - metrics.completed):
        return None
    return (
        f"{missing} of {metrics.samples} queries have no answer",
        "Run again; the figures cover the answered queries only.",
    )


@finding(
    "impossible-figures",
    "problem",
    "Impossible: faster than the machine's limits",
    needs=("impossible",),
    doubts=True,
)
def _impossible(sentences: Sequence[str]) -> Found:
    cure = "measure the limits again (setup.ipynb), check counts and options."
    return " ".join(sentences), f"Do not use this run: {cure}"


@finding("overload", "problem", "Overloaded: arrivals exceed capacity")
def _overload(test: Test) -> Found:
    load = test.load
    if not overloaded(test):
        return None
    return (
        f"{load.arrivals_per_s:.3g} queries/s arrived, {load.served_per_s:.3g} were served; "
        f"the queries in the system grew by {load.queue_growth_per_s:.2g} a second to "
        f"{load.peak_in_flight:.0f}{_queueing(test)}",
        f"Lower target_qps below {load.served_per_s:.2g}, or raise the capacity. Latencies of "
        "such a run grow with its length.",
    )


def _queueing(test: Test) -> str:
    """The evidence that queueing made the first tokens late; empty if it did not."""
    metrics, frame = test.metrics, test.latencies
    ttft, queue = metrics.ttft_ms, metrics.queue_ms.mean
    known = not math.isnan(queue)
    waited = queue if known else ttft.mean - ttft.min
    if not waited > ttft.mean / 2:
        return ""
    how = (
        f"against {say_ms(metrics.prefill_ms.mean)} of prefill"
        if known
        else f"if each could be as fast as the fastest, {say_ms(ttft.min)} (the engine does not "
        "report when it began a query)"
    )
    third = len(frame) // 3
    early, late = frame["ttft_ms"].head(third).mean(), frame["ttft_ms"].tail(third).mean()
    trend = (
        f". The first third of the queries had its first token after {say_ms(early)}, the last "
        f"after {say_ms(late)}: the loading of a model would have delayed the first"
    )
    return (
        f"; most of the TTFT is queueing: {say_ms(waited)} of {say_ms(ttft.mean)} on average, "
        f"{how}{trend if late > early else ''}"
    )


@finding("serial-engine", "problem", "No batching: one query at a time")
def _serial(test: Test) -> Found:
    result, load, params = test.result, test.load, test.params
    if result.scenario_traits.one_by_one or load.peak_served > 1:
        return None
    if load.serial_share < SERIAL_SHARE:
        return None
    limits = {"concurrency": params.concurrency, "max_num_seqs": params.max_num_seqs}
    one = [name for name, allowed in limits.items() if allowed == 1]
    actions = [f"Raise {' and '.join(one)} above 1."] if one else []
    if not params.engine_traits.started_here:
        actions = actions or ["Let the server answer several queries at once."]
    return (
        f"up to {load.peak_in_flight:.0f} queries were in the system and never more than one "
        f"was answered at a time; others waited for {percent(load.serial_share)} of the time",
        "".join(actions) or "Use an engine that batches: this one answers one query at a time.",
    )


@finding("first-token", needs=("queries", "run"))
def _first_token_share(test: Test, run: Run) -> Finding | None:
    result, metrics = test.result, test.metrics
    parts = {
        "late issue": metrics.schedule_delay_ms.mean,
        "queueing": metrics.queue_ms.mean,
        "prefill": metrics.prefill_ms.mean,
    }
    ttft = metrics.ttft_ms.mean
    if any(map(math.isnan, parts.values())) or result.scenario_traits.at_once or not ttft:
        return None
    largest = max(parts, key=lambda name: parts[name])
    action = ""  # for prefill: the prompts are the benchmark's
    if largest == "late issue":
        action = "Stop other programs: the harness issued queries late."
    elif largest == "queueing" and result.scenario_traits.scheduled:
        more = "" if full_steps(test, run.engine).empty else ", or raise max_num_seqs"
        action = f"Lower target_qps{more}."
    return Finding(
        "note",
        f"TTFT: mostly {largest}",
        f"mean TTFT {say_ms(ttft)} = {say_ms(parts['late issue'])} until issued + "
        f"{say_ms(parts['queueing'])} queue + {say_ms(parts['prefill'])} prefill",
        action,
        id=f"first-token-{largest.replace(' ', '-')}",
    )


@finding("phase")
def _phase(test: Test) -> Finding | None:
    """Where queries spend their time in the engine; not what the hardware is bound by."""
    metrics = test.metrics
    prefill, decode = metrics.prefill_ms.mean, metrics.decode_ms.mean
    if not prefill + decode > 0:  # or not known
        return None
    share = decode / (prefill + decode)
    larger = "decode" if share >= 0.5 else "prefill"
    return Finding(
        "note",
        f"Time in the engine: mostly {larger}",
        f"mean prefill {say_ms(prefill)}, mean decode {say_ms(decode)} ({percent(share)})",
        "",
    )


@finding("ttft-limit")
def _ttft_limit(test: Test) -> Finding | None:
    return limit(test, "ttft")


@finding("tpot-limit")
def _tpot_limit(test: Test) -> Finding | None:
    return limit(test, "tpot")


def broken_limits(test: Test) -> list[str]:
    """Those of "ttft" and "tpot" that exceed their limits."""
    found = {name: limit(test, name) for name in ("ttft", "tpot")}
    return [name for name, one in found.items() if one and one.severity == "problem"]


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
    below = f" below the {load.served_per_s:.2g} queries/s that were served"
    action = f"Lower target_qps{below if overloaded(test) else ''}."
    if (fastest := float(values.min())) > limit_ms:
        action = (
            f"Raise {name}_limit_ms, or use a faster machine or a smaller model: the fastest query "
            f"took {say_ms(fastest)}, so a lower rate does not help."
        )
    return Finding("problem", f"{title} exceeds its limit", evidence, action)


def _at(values: pd.Series, share: float, limit_ms: float) -> str:
    """The percentile with its bound and its distance from the limit, or ``lacking``."""
    if lacks := lacking(int(values.count()), share):
        return lacks
    actual, bound = percentile(values, share), upper_bound(values, share)
    apart = f"{say_ms(abs(actual - limit_ms))} {'over' if actual > limit_ms else 'under'} it"
    return f"p{share * 100:g} is {say_ms(actual)}, {apart} (at most {say_ms(bound)})"


@finding("early-stopping", "problem", "Too few queries for early stopping")
def early_stopping(test: Test) -> Found:
    """Whether there are enough queries to be sure of the percentile."""
    result, frame = test.result, test.latencies
    needed, over, share = queries_needed(result, frame)
    if len(frame) >= needed:
        return None
    too_slow = over > (1 - share) * len(frame)
    return (
        f"{count(len(frame), 'query')}, {over} of them over a limit; for p{share * 100:g} "
        f"LoadGen requires {needed:,} "
        + ("even with none over" if too_slow or not over else f"with {over} over"),
        f"Raise min_query_count to {needed} ({needed - len(frame):,} more)"
        + (", after the rate is low enough for the limits." if too_slow else "."),
    )


@finding("rate-not-offered", "problem", "Target rate not offered", doubts=True)
def _not_offered(test: Test) -> Found:
    if offered(test):
        return None
    return (
        f"target {test.params.rate:,.4g} queries/s, issued {issued_per_s(test):,.4g}: the harness "
        "is the limit",
        "Lower target_qps: this test does not show the system at that rate.",
    )


@finding("late-harness")
def _late_harness(test: Test) -> Finding | None:
    result, metrics = test.result, test.metrics
    delay, ttft = metrics.schedule_delay_ms, metrics.ttft_ms.mean
    late_ms = percentile(test.latencies["schedule_delay_ms"], 0.99)
    if not result.scenario_traits.scheduled or not (late_ms >= LATE_MS and ttft > 0):
        return None
    share = delay.mean / ttft
    return Finding(
        "problem" if share >= LATE_SHARE else "note",
        "Queries issued late",
        f"{say_ms(delay.mean)} after their due time on average, {say_tail(delay)}, maximum "
        f"{say_ms(delay.max)}; the mean is {percent(share, 1)} of the mean TTFT",
        "Stop other programs, or give the engine fewer threads.",
        doubts=True,
    )


@finding("first-token-tail", "note", "TTFT: long tail")
def _tail(test: Test) -> Found:
    """A long tail of TTFT, with the part of it that is longest there."""
    ttft, label = test.metrics.ttft_ms, tail(test.metrics.ttft_ms.queries)
    if test.result.scenario_traits.at_once or label in (None, "p50"):
        return None
    times = getattr(ttft, label) / ttft.p50
    if overloaded(test) or not times > TAIL:
        return None
    known = test.latencies.dropna(subset=["ttft_ms"])
    slowest = known.nlargest(round(len(known) * (1 - PERCENTILES[label])), "ttft_ms")
    parts = {"schedule_delay_ms": "late issue", "queue_ms": "queueing", "prefill_ms": "prefill"}
    means = slowest[list(parts)].mean()
    cause = "" if means.isna().any() else f"; theirs is mostly {parts[means.idxmax()]}"
    return (
        f"{say(ttft, label)}, {times:.1f} times {say(ttft, 'p50')}{cause}",
        "Look at the slowest queries in the timeline.",
    )


@finding("short-answers")
def _short_answers(test: Test) -> Finding | None:
    frame = test.latencies
    done = frame[frame["done_s"].notna()]
    none, one = (int((done["output_tokens"] == tokens).sum()) for tokens in (0, 1))
    if not none + one:
        return None
    return Finding(
        "problem" if none else "note",
        "Answers without a token" if none else "Answers of a single token",
        f"{one} of {count(len(done), 'answer')} have one token and {none} have none: they have no "
        "TPOT, and LoadGen counts them in its own",
        "Check their prompts; raise min_new_tokens if such answers are wrong.",
        doubts=True,
    )


@finding("answer-ends")
def _capped(test: Test) -> Finding | None:
    frame, params = test.latencies, test.params
    done = frame.dropna(subset=["done_s"])
    cap, official = params.max_new_tokens, params.rules.task.max_new_tokens
    if done.empty:
        return None
    share = float((done["output_tokens"] >= cap).mean())
    reasons = [
        f"{times:,} ended with {reason!r}"
        for reason, times in test.result.finish_reasons.items()
        if reason not in USUAL
    ]
    return Finding(
        "note",
        f"Answers at the cap of {cap} tokens: {percent(share)}",
        f"mean length {done['output_tokens'].mean():.0f} tokens (max_new_tokens = {cap})"
        + "".join(f"; {reason}" for reason in reasons),
        "" if cap == official else f"Compare equal caps only: the official task has {official}.",
    )
