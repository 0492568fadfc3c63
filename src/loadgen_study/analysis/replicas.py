"""Engines that share the queries: what each had to do, and all of them as one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# An engine is late if it works longer than all others by this share of the test.
LATE_SHARE = 0.1
# One whose tokens take this many times as long as the slowest of the others' is slower, if at most
# this share of random deals of the same queries shows as large a difference.
SLOWER, CHANCE, DEALS = 1.2, 0.01, 2000
# An engine has too much to do if its queue is this many times the next longest.
LONGER_QUEUE = 2.0


def together(steps: pd.DataFrame) -> pd.DataFrame:
    """The steps of several engines as those of one.

    Returns:
        The same rows; running and waiting are the sum over the engines, of what each said last, and
        kv_cache_share is that of the fullest.
    """
    if not several(steps):
        return steps
    # (steps, engines) of each: 0 before an engine's first step.
    names = ["running", "waiting", "kv_cache_share"]
    known = steps.pivot(columns="replica", values=names).ffill().fillna(0)
    return steps.assign(
        running=known["running"].sum(axis=1).astype(int),
        waiting=known["waiting"].sum(axis=1).astype(int),
        kv_cache_share=known["kv_cache_share"].max(axis=1),
    )


def several(steps: pd.DataFrame) -> bool:
    """Whether these are the steps of more than one engine."""
    return "replica" in steps and steps["replica"].nunique() > 1


def working(steps: pd.DataFrame) -> pd.DataFrame:
    """The steps that computed a token; if that is not recorded, those with a query in the batch."""
    if "prefill_tokens" not in steps:
        return steps[steps["running"] > 0]
    return steps[steps["prefill_tokens"] + steps["decode_tokens"] > 0]


def loads(steps: pd.DataFrame) -> pd.DataFrame:
    """What each of several engines had to do.

    Returns:
        index replica; queries (with a first token), input_tokens, output_tokens (computed), steps,
        mean_running and mean_waiting (queries, from the test's start to the last step of all),
        begin_s and end_s of its work. Empty for one engine, or if steps record no tokens.
    """
    if not several(steps) or "first_tokens" not in steps:
        return pd.DataFrame()
    end_s = float(steps["time_s"].max())
    rows = {replica: _load(own, end_s) for replica, own in steps.groupby("replica")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("replica")


def _load(own: pd.DataFrame, end_s: float) -> dict[str, float]:
    worked = working(own)
    lasted_s = np.diff(own["time_s"], append=end_s)
    return {
        "queries": int(own["first_tokens"].sum()),
        "input_tokens": int(own["prefill_tokens"].sum()),
        "output_tokens": int((own["first_tokens"] + own["decode_tokens"]).sum()),
        "steps": len(worked),
        "mean_running": float((own["running"] * lasted_s).sum()) / end_s,
        "mean_waiting": float((own["waiting"] * lasted_s).sum()) / end_s,
        "begin_s": float(worked["time_s"].min()),
        "end_s": float(worked["time_s"].max()),
    }


@dataclass(frozen=True)
class Straggler:
    """The one engine that the test waited for, or that had a queue when the others had none."""

    replica: int
    late_s: float  # how long it worked after all others had ended
    waiting: float  # its mean queue
    others_waiting: float  # the longest of the others
    # Its output tokens and its prompts' over the others' mean.
    tokens_share: float
    prompts_share: float


def straggler(loads: pd.DataFrame, whole_s: float, at_once: bool = True) -> Straggler | None:
    """The engine that held the others back; None if none did.

    Args:
        loads: of ``loads``. whole_s: the test's duration.
        at_once: whether all queries were due at its start. Else the last of them, and no engine,
            sets who ends last.
    """
    if loads.empty:
        return None
    queued = loads["mean_waiting"].sort_values()
    longest, next_longest = float(queued.iloc[-1]), float(queued.iloc[-2])
    if longest >= 1 and longest > LONGER_QUEUE * next_longest:
        return _described(loads, int(queued.index[-1]))
    ends = loads["end_s"].sort_values()
    if at_once and ends.iloc[-1] - ends.iloc[-2] > LATE_SHARE * whole_s:
        return _described(loads, int(ends.index[-1]))
    return None


def _described(loads: pd.DataFrame, replica: int) -> Straggler:
    own, others = loads.loc[replica], loads.drop(index=replica)

    def share(name: str) -> float:
        mean = float(others[name].mean())
        return float(own[name]) / mean if mean else float("inf")

    return Straggler(
        replica=replica,
        late_s=float(own["end_s"] - others["end_s"].max()),
        waiting=float(own["mean_waiting"]),
        others_waiting=float(others["mean_waiting"].max()),
        tokens_share=share("output_tokens"),
        prompts_share=share("input_tokens"),
    )


def servers(frame: pd.DataFrame) -> pd.DataFrame:
    """What each of several servers was asked for and gave.

    Returns:
        index replica (the place of its URL in ``base_url``, from 0); queries, unanswered,
        input_tokens, output_tokens, ttft_mean_ms and tpot_mean_ms. Empty of one server.
    """
    if "replica" not in frame:
        return pd.DataFrame()
    given = frame[frame["replica"] >= 0]
    each = given.groupby("replica")
    return pd.DataFrame({
        "queries": each.size(),
        "unanswered": (given["output_tokens"] == 0).groupby(given["replica"]).sum(),
        "input_tokens": each["input_tokens"].sum(),
        "output_tokens": each["output_tokens"].sum(),
        "ttft_mean_ms": each["ttft_ms"].mean(),
        "tpot_mean_ms": each["tpot_ms"].mean(),
    })  # fmt: skip


def slower_server(frame: pd.DataFrame) -> int | None:
    """The server whose tokens take longer than all others', beyond chance; None without one.

    A permutation test: which server a query went to is drawn at random ``DEALS`` times.
    """
    means = servers(frame).get("tpot_mean_ms", pd.Series(dtype=float)).dropna().sort_values()
    if len(means) < 2 or means.iloc[-1] < SLOWER * means.iloc[-2]:
        return None
    slowest = int(means.index[-1])
    known = frame.dropna(subset=["tpot_ms"])
    own = (known["replica"] == slowest).to_numpy()
    tpot_ms = known["tpot_ms"].to_numpy(float)
    dealt = np.random.default_rng(0).permuted(np.tile(own, (DEALS, 1)), axis=1)
    as_slow = dealt @ tpot_ms / own.sum() >= tpot_ms[own].mean()
    return slowest if as_slow.mean() <= CHANCE else None
