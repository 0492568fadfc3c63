"""An imitated engine that tells its steps: decode first, then as much of the prompts as fits."""

from dataclasses import dataclass

import pandas as pd
from helpers import make_records

from loadgen_study.analysis.metrics import latencies

STEP_S, TOKEN_S = 0.02, 0.0005


@dataclass
class Query:
    at_s: float
    prompt: int
    answer: int
    read: int = 0
    made: int = 0
    started_s: float = 0.0
    first_s: float = 0.0
    done_s: float | None = None


def stepped(asked, budget=10**6, places=10**6, gap_s=0.001):
    """The steps and the records of an engine that was asked so.

    Args:
        asked: (arrival in s, prompt tokens, answer tokens) a query, by arrival.
        budget: tokens of a step. places: queries at once. gap_s: between steps.

    Returns:
        steps as ``Test.steps``, records as ``Test.records``.
    """
    queries, now_s, rows = [Query(*each) for each in asked], 0.0, []
    while left := [q for q in queries if q.done_s is None]:
        now_s = max(now_s + gap_s, min(q.at_s for q in left))
        batch = [q for q in left if q.at_s <= now_s][:places]
        decoding = [q for q in batch if q.made]
        room, new = budget - len(decoding), 0
        end_s = now_s + STEP_S + TOKEN_S * (budget - room)
        parts = []
        for query in (q for q in batch if not q.made):
            if part := min(room, query.prompt - query.read):
                query.started_s = query.started_s or now_s
                parts.append((query, part))
                room -= part
        end_s += TOKEN_S * sum(part for _, part in parts)
        for query in decoding:
            query.made += 1
        for query, part in parts:
            query.read += part
            if query.read == query.prompt:
                query.made, query.first_s, new = 1, end_s, new + 1
        for query in batch:
            if query.made == query.answer:
                query.done_s = end_s
        here = [q for q in queries if q.at_s <= end_s and q.done_s is None]
        running = len([q for q in here if q.read])
        rows.append(
            {"time_s": end_s, "running": running, "waiting": len(here) - running, "preempted": 0,
             "kv_cache_share": 0.1, "prefill_tokens": sum(part for _, part in parts),
             "decode_tokens": len(decoding), "first_tokens": new,
             "duration_ms": (end_s - now_s) * 1e3}
        )  # fmt: skip
        now_s = end_s
    records = make_records(
        [(q.at_s, q.at_s, q.started_s, q.first_s, q.done_s, q.prompt, q.answer) for q in queries]
    )
    return pd.DataFrame(rows), records


def frames(asked, **limits):
    """The same, with what a reader asks of each query in place of the records."""
    steps, records = stepped(asked, **limits)
    return steps, latencies(records)
