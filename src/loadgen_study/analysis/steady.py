"""Where a test's ramp ends and its drain begins, and what the engine did between the two."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.intervals import tokens_by
from loadgen_study.analysis.load import mean_served
from vllm_loadgen.traits import SCENARIOS, Scenario

# The batch counts as full from this share of the level that it keeps.
FULL_SHARE = 0.9
# With fewer windows than this no order of them has a chance as small as SHIFT_CHANCE.
LEAST_WINDOWS, MOST_WINDOWS = 10, 20
# A shift is reported from this size on, and if so few orders of the windows show as large a one.
SHIFT_SHARE, SHIFT_CHANCE = 0.05, 0.01
ORDERS = 2000


@dataclass(frozen=True)
class Shift:
    """The tokens/s changed for good: at ``at_s``, from ``before`` to ``after``."""

    at_s: float
    before: float
    after: float


@dataclass(frozen=True)
class Steady:
    """A test between its ramp and its drain."""

    # From the test's start.
    begin_s: float
    end_s: float
    batch: float  # queries at once, by the definition of the whole test (``load.mean_served``)
    queries: int  # answered in that time
    tokens_per_s: float  # of output
    tpot_ms: float  # mean of the queries that were decoded wholly in it; NaN without one
    # How much shorter the test would be with its tokens of before and after at ``tokens_per_s``.
    ramp_cost_s: float
    drain_cost_s: float
    thirds: tuple[float, float]  # tokens/s of its first and its last third
    shift: Shift | None  # None without one, and in Server, where the arrivals move the rate
    windows: int  # into which the time was divided to look for one; 0: too short, or not looked


@dataclass(frozen=True)
class NotSteady:
    """There is no steady state in a test; ``reason`` ends a sentence."""

    reason: str


def steady_state(
    steps: pd.DataFrame, frame: pd.DataFrame, scenario: Scenario
) -> Steady | NotSteady:
    """What a test did while its batch was full and queries took each other's places.

    The ramp ends when the batch reaches the level that it keeps, the drain begins when the last
    query comes into it. Between them as many queries must be answered as the batch holds: a batch
    that fills and empties once has a top, and no steady state.
    """
    done = frame.dropna(subset=["first_token_s", "done_s"])
    if steps.empty or done.empty or not (steps["running"] > 0).any():
        return NotSteady("the engine reports no steps")
    begin_s, end_s, level = _plateau(steps)
    inside = done[done["done_s"].between(begin_s, end_s)]
    if not end_s > begin_s or len(inside) < level:
        return NotSteady(
            f"its batch held up to {steps['running'].max():.0f} queries, and between its filling "
            f"and its emptying {len(inside)} of {len(frame)} were answered, not as many as it holds"
        )
    marks = np.array([0.0, begin_s, end_s, max(float(done["done_s"].max()), end_s)])
    ramp, between, drain = np.diff(tokens_by(done, marks))
    rate = float(between) / (end_s - begin_s)
    whole = inside[inside["first_token_s"] >= begin_s]
    _, (first, _, last) = _rates(done, begin_s, end_s, 3)
    shift, windows = None, 0
    if not SCENARIOS[scenario].scheduled:
        shift, windows = _shift(done, begin_s, end_s)
    return Steady(
        begin_s=begin_s,
        end_s=end_s,
        batch=mean_served(frame, begin_s, end_s),
        queries=len(inside),
        tokens_per_s=rate,
        tpot_ms=float(whole["tpot_ms"].mean()),
        ramp_cost_s=begin_s - float(ramp) / rate if rate else math.nan,
        drain_cost_s=float(marks[3]) - end_s - float(drain) / rate if rate else math.nan,
        thirds=(float(first), float(last)),
        shift=shift,
        windows=windows,
    )


def _plateau(steps: pd.DataFrame) -> tuple[float, float, float]:
    """When the ramp ends and when the drain begins, s, and the level of the batch between them.

    What a step says of the batch holds until the next one. The level is the median over time of
    a batch that is not empty, until the drain.
    """
    time_s, running = steps["time_s"].to_numpy(float), steps["running"].to_numpy(float)
    joined = np.diff(running, prepend=0) > 0
    last = int(np.flatnonzero(joined | (steps["waiting"].to_numpy() > 0))[-1])
    busy = running[:last] > 0
    if not busy.any():
        return float(time_s[last]), float(time_s[last]), float(running.max())
    lasted_s, batch = np.diff(time_s[: last + 1])[busy], running[:last][busy]
    order = np.argsort(batch, kind="stable")
    half = np.searchsorted(np.cumsum(lasted_s[order]), lasted_s.sum() / 2)
    level = float(batch[order][min(int(half), len(order) - 1)])
    full = int(np.argmax(running >= FULL_SHARE * level))
    return float(time_s[full]), float(time_s[last]), level


def _rates(
    done: pd.DataFrame, begin_s: float, end_s: float, windows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Edges, s, and tokens/s of equal windows of this time."""
    edges = np.linspace(begin_s, end_s, windows + 1)
    return edges, np.diff(tokens_by(done, edges)) / np.diff(edges)


def _shift(done: pd.DataFrame, begin_s: float, end_s: float) -> tuple[Shift | None, int]:
    """The largest change of the tokens/s within this time if it is no chance; the windows looked
    at.

    A window is as long as a query is answered for, at least, so that neighbours have few queries
    in common. The change is where two means fit the windows best; it counts if at most
    ``SHIFT_CHANCE`` of the orders of the same windows fit two means as well (a permutation test).
    """
    served_s = float((done["done_s"] - done["started_s"].fillna(done["first_token_s"])).mean())
    windows = min(MOST_WINDOWS, int((end_s - begin_s) / max(served_s, 1e-9)))
    if windows < LEAST_WINDOWS:
        return None, 0
    edges, rates = _rates(done, begin_s, end_s, windows)
    at, gain = _best_split(rates[None])
    before, after = float(rates[: at[0]].mean()), float(rates[at[0] :].mean())
    shuffled = np.random.default_rng(0).permuted(np.tile(rates, (ORDERS, 1)), axis=1)
    chance = float((_best_split(shuffled)[1] >= gain[0]).mean())
    if chance > SHIFT_CHANCE or abs(after - before) < SHIFT_SHARE * before:
        return None, windows
    return Shift(float(edges[at[0]]), before, after), windows


def _best_split(rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where two means fit each row of rates (rows, windows) best, and by how much better than one.

    Returns:
        (rows,) windows before the change, (rows,) the part of the sum of squares that it explains.
    """
    windows = rates.shape[1]
    before = np.arange(1, windows)
    sums = np.cumsum(rates, axis=1)[:, :-1]
    low, high = sums / before, (rates.sum(axis=1, keepdims=True) - sums) / (windows - before)
    gain = before * (windows - before) / windows * (low - high) ** 2
    return before[gain.argmax(axis=1)], gain.max(axis=1)
