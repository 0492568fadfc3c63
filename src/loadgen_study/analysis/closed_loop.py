"""A test at a fixed number of queries at once: its steady part, counted from each query's sending.

LoadGen gives all queries at 0 s, and the harness holds them back. So LoadGen's TTFT is the place in
the line; a user at fixed concurrency waits from the sending of the query.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.intervals import tokens_by
from loadgen_study.analysis.metrics import answered
from loadgen_study.analysis.percentiles import distribution
from loadgen_study.facts.results import Distribution

# MLPerf Endpoints: TPOT's percentiles stay flat over at least this many passes over the data.
FLAT_PASSES, FLAT_SHARE = 4, 0.05


@dataclass(frozen=True)
class ClosedLoop:
    """What users see of a system that always has the same number of queries.

    Attributes:
        reached: most queries that were there at once.
        passes: over the data, whole ones.
        begin_s, end_s: of the steady part, since the test's start: from the end of the first
            queries until the last one is sent; NaN without one.
        tokens_per_s: output tokens/s in it; NaN without one.
        ttft_ms: from send; tpot_ms: both of the queries that lie wholly in it, else of all.
        flat: whether p50 and p90 of TPOT differ by at most ``FLAT_SHARE`` from pass to pass; None
            of fewer than ``FLAT_PASSES``.
    """

    reached: int
    passes: int
    begin_s: float
    end_s: float
    tokens_per_s: float
    ttft_ms: Distribution
    tpot_ms: Distribution
    flat: bool | None


def closed_loop(frame: pd.DataFrame) -> ClosedLoop | None:
    """The figures of a test at fixed concurrency; None if neither sending nor start is recorded."""
    # Records up to version 0.2.0 have the engine's start of a query alone.
    done = frame.assign(sent_s=frame["given_s"].fillna(frame["started_s"]))
    done = done[answered(frame) & done["sent_s"].notna()]
    if done.empty:
        return None
    given, ended = np.sort(done["sent_s"]), np.sort(done["done_s"])
    # Sent so far, less those that had ended before.
    at_once = np.arange(1, len(given) + 1) - np.searchsorted(ended, given, side="right")
    reached = int(at_once.max())
    begin_s, end_s = float(ended[min(reached, len(ended)) - 1]), float(given[-1])
    inside = done[(done["sent_s"] >= begin_s) & (done["done_s"] <= end_s)]
    rate = math.nan
    if end_s > begin_s and len(inside) >= reached:
        before, after = tokens_by(done, np.array([begin_s, end_s]))
        rate = float(after - before) / (end_s - begin_s)
    else:
        begin_s = end_s = math.nan
        inside = done
    samples = frame["sample_index"].nunique()  # LoadGen issues whole passes over the data
    passes = len(frame) // samples
    return ClosedLoop(
        reached=reached,
        passes=passes,
        begin_s=begin_s,
        end_s=end_s,
        tokens_per_s=rate,
        ttft_ms=distribution(inside["sent_ttft_ms"]),
        tpot_ms=distribution(inside["tpot_ms"]),
        flat=_flat(done, samples) if passes >= FLAT_PASSES else None,
    )


def _flat(done: pd.DataFrame, samples: int) -> bool:
    """Whether each pass has the same p50 and p90 of TPOT."""
    by_pass = done.groupby(done.index // samples)["tpot_ms"].quantile([0.5, 0.9]).unstack()
    middle = by_pass.median()
    return bool(((by_pass - middle).abs() <= FLAT_SHARE * middle).all(axis=None))
