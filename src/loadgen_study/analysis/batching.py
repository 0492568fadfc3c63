"""Continuous batching simulated: the latencies that a rate is expected to give, before it is tried.

A step takes as long as decode steps of its batch took in another test, and ``prefill_s`` more for
each prompt that it reads; a query that has arrived joins the next step. Memory for keys and values,
and the lengths of prompts, are left out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.replicas import several

# Fewer different batches do not show how a step's time grows with the batch.
FEWEST_BATCHES = 3


@dataclass(frozen=True)
class StepCosts:
    """What an engine's steps take, s.

    Attributes:
        batches: (n,) ascending numbers of queries.
        decode_s: (n,) a decode step of each, lower quartile.
    """

    batches: np.ndarray
    decode_s: np.ndarray
    prefill_s: float  # of a prompt


def step_costs(steps: pd.DataFrame) -> StepCosts | None:
    """The costs in a test that had many batches, such as one of all queries at once.

    Args:
        steps: ``Test.replica_steps`` of one engine.

    Returns:
        None of several engines, of one whose steps are not known, and where batches hardly differ.
    """
    if "prefill_tokens" not in steps or several(steps):
        return None
    lasted_s = steps["time_s"].diff()
    prefill = steps["prefill_tokens"] > 0
    decode = ~prefill & (steps["decode_tokens"] > 0) & lasted_s.notna()
    if not prefill.any() or steps.loc[decode, "decode_tokens"].nunique() < FEWEST_BATCHES:
        return None
    # The last queries of a test have small batches, few steps, and at times a busy machine. What
    # a larger batch takes is enough for a smaller one.
    quartiles = lasted_s[decode].groupby(steps.loc[decode, "decode_tokens"]).quantile(0.25)
    decode_s = np.minimum.accumulate(quartiles.to_numpy()[::-1])[::-1]
    prefill_s = lasted_s[prefill].sum() / steps["first_tokens"].sum()
    return StepCosts(quartiles.index.to_numpy(), decode_s, float(prefill_s))


def simulated(due_s: np.ndarray, tokens: np.ndarray, costs: StepCosts) -> pd.DataFrame:
    """The latencies of a Server test.

    Args:
        due_s: (queries,) when each arrives, ascending. tokens: (queries,) of its answer, from 1.

    Returns:
        (queries,) ttft_s from the due time, tpot_s (NaN of answers of one token).
    """
    first_s, done_s = np.zeros(len(due_s)), np.zeros(len(due_s))
    left = tokens.astype(int).copy()
    now_s, arrived, running = 0.0, 0, np.zeros(0, dtype=int)
    while arrived < len(due_s) or len(running):
        if not len(running):
            now_s = max(now_s, due_s[arrived])
        joined = np.arange(arrived, np.searchsorted(due_s, now_s, side="right"))
        decode_s = np.interp(len(running), costs.batches, costs.decode_s)
        now_s += float(decode_s) + costs.prefill_s * len(joined)
        arrived += len(joined)
        first_s[joined] = now_s
        running = np.concatenate([running, joined])
        left[running] -= 1
        done_s[running[left[running] == 0]] = now_s
        running = running[left[running] > 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpot_s = (done_s - first_s) / (tokens - 1)
    return pd.DataFrame({"ttft_s": first_s - due_s, "tpot_s": tpot_s})
