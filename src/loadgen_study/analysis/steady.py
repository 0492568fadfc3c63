"""Where a test's ramp ends and its drain begins, and what the engine did between the two."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.change_points import best_split
from loadgen_study.analysis.intervals import tokens_by
from loadgen_study.analysis.load import mean_served
from vllm_loadgen.traits import SCENARIOS, Scenario

# The batch counts as full from this share of the level that it keeps.
FULL_SHARE = 0.9
# Of fewer windows than this no order is as rare as SHIFT_CHANCE.
LEAST_WINDOWS, MOST_WINDOWS = 10, 20
# A shift is reported if it is as large, and if at most this share of random orders of the windows
# shows one as large.
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
    # How much shorter the test would be if ramp and drain were at ``tokens_per_s``.
    ramp_cost_s: float
    drain_cost_s: float
    thirds: tuple[float, float]  # tokens/s of its first and its last third
    shift: Shift | None  # None without one, and in Server, where the arrivals move the rate
    windows: int  # into which the time was divided to look for one; 0: too short, or not looked


@dataclass(frozen=True)
class NotSteady:
    """A test without a steady state; ``reason`` ends a sentence."""

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
    """The largest change of the tokens/s in this time if it is not chance; the number of windows.

    A window is at least as long as a query takes, so that neighbours have few queries in common.
    The change is where two means fit the windows best; it counts if at most ``SHIFT_CHANCE`` of
    the random orders of the same windows fit two means as well (a permutation test).
    """
    served_s = float((done["done_s"] - done["started_s"].fillna(done["first_token_s"])).mean())
    windows = min(MOST_WINDOWS, int((end_s - begin_s) / max(served_s, 1e-9)))
    if windows < LEAST_WINDOWS:
        return None, 0
    edges, rates = _rates(done, begin_s, end_s, windows)
    at, as_large = best_split(rates, 1, ORDERS)
    before, after = float(rates[:at].mean()), float(rates[at:].mean())
    if as_large > SHIFT_CHANCE * ORDERS or abs(after - before) < SHIFT_SHARE * before:
        return None, windows
    return Shift(float(edges[at]), before, after), windows
