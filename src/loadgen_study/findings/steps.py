"""The engine's steps that made the slowest first tokens and the slowest answers."""

import math

import numpy as np
import pandas as pd

from loadgen_study.analysis.anatomy import Placed
from loadgen_study.analysis.percentiles import PERCENTILES, percentile, tail
from loadgen_study.findings.finding import Found, finding
from loadgen_study.findings.overload import overloaded
from loadgen_study.results.test import Test
from loadgen_study.words import count, percent, say_ms
from vllm_loadgen.records.engine import EngineFacts

# Least that is reported: this share of the slowest queries' time, this gain in a percentile.
CAUSE_SHARE, GAIN_SHARE = 0.25, 0.1
# A smaller cap costs more steps than it saves on any machine.
LEAST_TOKENS = 64
FULL_CACHE = 0.9
SLOWEST = {"p90": "tenth", "p99": "hundredth"}


def _slowest(queries: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame]:
    """The queries beyond the highest percentile that they are enough for, and its name."""
    known = queries.dropna(subset=[name])
    label = tail(len(known)) or ""
    if label not in SLOWEST:
        return label, known.iloc[:0]
    return label, known.nlargest(round(len(known) * (1 - PERCENTILES[label])), name)


def _cap(tokens: float, where: Placed, engine: EngineFacts) -> int | None:
    """A power of two at most half of these tokens a step; None if vLLM would not take it.

    It must hold a token of each query of the batch, and a whole prompt if they are not cut.
    """
    limit, batch = engine.max_num_batched_tokens, int(where.steps["decode_tokens"].max())
    least = max(LEAST_TOKENS, 2 * batch, engine.max_num_seqs or 0)
    cap = 2 ** int(math.log2(max(tokens / 2, 1)))
    if engine.chunked_prefill is False or cap < least or (limit and cap >= limit):
        return None
    return int(cap)


@finding(
    "later-prompts",
    "note",
    "Slowest TTFTs: later prompts in the same step",
    needs=("test", "placed", "engine"),
)
def _shared_prefill(test: Test, where: Placed, engine: EngineFacts) -> Found:
    """First tokens that came out of a step with the prompts of queries that came later.

    Read one after the other in order of arrival, no prompt would end later than the whole step, and
    the last as late. The percentile is estimated for that case, with the step's time shared in
    proportion to its tokens, as where arithmetic bounds it.
    """
    label, slowest = _slowest(where.queries, "ttft_ms")
    if slowest.empty or overloaded(test):
        return None
    later, tokens, took_ms = _later_tokens(where)
    alone_ms = where.queries["ttft_ms"] - took_ms * later / np.maximum(tokens, 1)
    share, of = PERCENTILES[label], slowest.index
    before, after = percentile(where.queries["ttft_ms"], share), percentile(alone_ms, share)
    cap = _cap(float(tokens[of].mean()), where, engine)
    if cap is None or after > (1 - GAIN_SHARE) * before:
        return None
    return (
        f"the slowest {SLOWEST[label]} came out of steps of {tokens[of].mean():,.0f} tokens that "
        f"took {say_ms(took_ms[of].mean())} (means), {later[of].mean():,.0f} of them of prompts of "
        f"queries that were issued later; read in the order of their arrival, {label} would have "
        f"been about {say_ms(after)} and not {say_ms(before)}",
        f"Cap max_num_batched_tokens near {cap:,}: whoever came first is answered first.",
    )


def _later_tokens(where: Placed) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Of the step that made each first token: tokens of later prompts, all tokens, its time in ms.

    Tokens of later prompts are those left after the whole prompts that ended in it and came before.
    """
    by_arrival = where.queries.sort_values("issued_s", kind="stable")
    until = by_arrival.groupby("first_step")["input_tokens"].cumsum()
    steps = where.steps.iloc[where.queries["first_step"]].set_index(where.queries.index)
    later = (steps["prefill_tokens"] - until).clip(lower=0)
    return later, steps["prefill_tokens"] + steps["decode_tokens"], steps["duration_ms"]


@finding("no-place", "note", "Slowest TTFTs: full batch", needs=("test", "placed", "engine"))
def _no_place(test: Test, where: Placed, engine: EngineFacts) -> Found:
    """First tokens that waited for a place in a full batch while the KV cache had room."""
    label, slowest = _slowest(where.queries, "ttft_ms")
    places, steps = engine.max_num_seqs, where.steps
    if slowest.empty or not places or overloaded(test):
        return None
    begun = slowest["started_s"].fillna(slowest["first_token_s"])
    ends = steps["time_s"].to_numpy()
    waited = np.zeros(len(steps), bool)
    for issued_s, started_s in zip(slowest["issued_s"], begun, strict=True):
        waited |= (ends > issued_s) & (ends <= started_s)
    through = steps[waited]
    full = through[through["running"] >= places]
    queued = float(slowest["queue_ms"].mean() / slowest["ttft_ms"].mean())
    if len(full) <= len(through) / 2 or not queued > 0.5:
        return None
    if (room := float(full["kv_cache_share"].max())) > FULL_CACHE:
        return None
    return (
        f"the slowest {SLOWEST[label]} of first tokens spent {percent(queued)} of their time in "
        f"the engine's queue; in {len(full):,} of {count(len(through), 'step')} of that time "
        f"all {places} places were taken, and the KV cache was {percent(room)} full at most",
        f"Raise max_num_seqs above {places}.",
    )


@finding("other-prompts", "note", "Slowest TPOTs: other queries' prompts", needs=("placed",))
def _between_tokens(where: Placed) -> Found:
    """Answers whose steps had other queries' prompts in them.

    Smaller parts of a prompt do not help: a step's time grows with its tokens, so the same work
    lies between the same tokens. They shorten the longest pause, which LoadGen does not measure.
    """
    label, slowest = _slowest(where.queries, "tpot_ms")
    alone = where.steps.loc[where.steps["prefill_tokens"] == 0, "duration_ms"]
    if slowest.empty or alone.empty:
        return None
    usual_ms = float(alone.median())
    ends = zip(slowest["first_step"], slowest["last_step"], strict=True)
    decoded = pd.concat([where.steps.iloc[first + 1 : last + 1] for first, last in ends])
    prefill = decoded[decoded["prefill_tokens"] > 0]
    lost_ms = float((prefill["duration_ms"] - usual_ms).clip(lower=0).sum())
    if (share := lost_ms / float(decoded["duration_ms"].sum())) < CAUSE_SHARE:
        return None
    return (
        f"of {count(len(decoded), 'step')} (counted for each answer) of the slowest "
        f"{SLOWEST[label]} by TPOT {len(prefill):,} read {prefill['prefill_tokens'].mean():,.0f} "
        f"tokens of prompts on average; what they took beyond the {say_ms(usual_ms)} of a step "
        f"that decodes alone is {percent(share)} of the time of these answers",
        "Lower target_qps. A smaller max_num_batched_tokens shortens the longest pause, not TPOT.",
    )
