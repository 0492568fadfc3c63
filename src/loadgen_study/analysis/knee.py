"""The knee of a sweep: from which load on more of it brings little."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Fewer points have no knee: any three bend somewhere.
FEWEST_POINTS = 4
# From here to the point with the most tokens/s more load buys less than this share.
NOTHING_SHARE = 0.05


@dataclass(frozen=True)
class Knee:
    """Where a curve of throughput over load bends most; ``enough`` is the load beyond which the
    sweep gained less than ``NOTHING_SHARE``, None where it still gained at its end."""

    offered: float
    enough: float | None


@dataclass(frozen=True)
class NoKnee:
    """There is none to name; ``reason`` ends a sentence."""

    reason: str


def knee(table: pd.DataFrame) -> Knee | NoKnee:
    """The knee of tokens/s over what was offered, of points of one kind.

    By the rule of Kneedle (Satopaa et al., ICDCS workshops, 2011) without its smoothing: with both
    axes scaled to 0 to 1, the point farthest above the line from the first to the last. It counts
    only beyond noise: its height above that line must be more than half of the widest interval.

    Args:
        table: rows of ``sweep_table`` of one kind: offered, tokens_per_s, and where they are known
            tokens_per_s_low and tokens_per_s_high.
    """
    points = table.dropna(subset=["tokens_per_s"]).sort_values("offered")
    if len(points) < FEWEST_POINTS:
        return NoKnee(f"a knee needs {FEWEST_POINTS} points, and there are {len(points)}")
    load, rate = points["offered"].to_numpy(float), points["tokens_per_s"].to_numpy(float)
    rise = rate.max() - rate[0]
    if rise <= 0:
        return NoKnee("more load brought no more tokens/s")
    above = (rate - rate[0]) / rise - (load - load[0]) / (load[-1] - load[0])
    place = int(np.argmax(above))
    if above[place] * rise <= _noise(points) or place == 0:
        return NoKnee("tokens/s grew with the load to the end, as far as noise lets one tell")
    enough = float(load[np.argmax(rate >= (1 - NOTHING_SHARE) * rate.max())])
    return Knee(float(load[place]), enough if enough < load[-1] else None)


def _noise(points: pd.DataFrame) -> float:
    """Half of the widest interval of tokens/s; without intervals ``NOTHING_SHARE`` of the most."""
    if "tokens_per_s_low" in points:
        half = ((points["tokens_per_s_high"] - points["tokens_per_s_low"]) / 2).max()
        if not math.isnan(half):
            return float(half)
    return NOTHING_SHARE * float(points["tokens_per_s"].max())
