"""Findings from a server's own counters: its prefix cache, and clients other than the test."""

from loadgen_study.findings.finding import Finding, Found, finding
from loadgen_study.results.test import Test
from loadgen_study.words import count, percent
from vllm_loadgen.records.engine import EngineFacts

CACHE_OFF = (
    "Start the server with --no-enable-prefix-caching (vLLM), --disable-radix-cache (SGLang), "
    "--no-cache-prompt (llama.cpp)."
)
# A server may count a token more for each answer, as its end.
OTHERS_SHARE = 0.05
# No model makes tokens so fast for one user; answers of fewer tokens may come in one packet.
FASTEST_TPOT_MS, FEW_TOKENS = 0.02, 8


@finding("prefix-cache", needs=("test",))
def _cached(test: Test) -> Finding | None:
    counts = test.result.server
    if counts is None or not counts.cached_tokens or not counts.prompt_tokens:
        return None
    return Finding(
        "problem",
        f"{percent(counts.cached_tokens / counts.prompt_tokens)} of prompt tokens were cached",
        f"the server computed {counts.prompt_tokens - counts.cached_tokens:,} of "
        f"{count(counts.prompt_tokens, 'prompt token')}: TTFT and throughput are too good",
        CACHE_OFF,
        doubts=True,
    )


@finding(
    "prefix-cache-likely",
    "problem",
    "Prefix cache likely on",
    needs=("test", "engine"),
    doubts=True,
)
def _likely_cached(_: Test, engine: EngineFacts) -> Found:
    if not (engine.prefix_caching and engine.cache_seen_by == "probe"):
        return None
    return "before the test the server answered a repeated prompt much sooner", CACHE_OFF


@finding("other-clients", "problem", "Server shared with other clients", doubts=True)
def _shared(test: Test) -> Found:
    counts = test.result.server
    if counts is None or counts.output_tokens is None or not test.result.complete:
        return None
    own = int(test.latencies["output_tokens"].sum())
    if test.result.refused or counts.output_tokens <= (1 + OTHERS_SHARE) * own:
        return None
    return (
        f"it generated {counts.output_tokens:,} tokens during the test, {own:,} of them for it",
        "Repeat the test while nobody else uses the server.",
    )


@finding("one-piece", "problem", "Answers streamed in one piece", doubts=True)
def _in_one_piece(test: Test) -> Found:
    if test.params.engine_traits.started_here:
        return None
    frame = test.latencies
    answers = frame[frame["output_tokens"] >= FEW_TOKENS]
    whole = int((answers["tpot_ms"] < FASTEST_TPOT_MS).sum())
    if whole <= OTHERS_SHARE * len(answers):
        return None
    return (
        f"all tokens of {whole:,} of {count(len(answers), 'answer')} arrived at once: their TTFT "
        "is the latency, and their TPOT is not known",
        "Turn off buffering in the server or in the proxy before it.",
    )


@finding("server-counters", "note", "Server's counters incomplete", needs=("test",))
def _incomplete(test: Test) -> Found:
    counts = test.result.server
    if counts is None or not counts.problem:
        return None
    return counts.problem, "Look into the server's log."
