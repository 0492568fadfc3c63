"""The latency at a rate that was not measured, from the queue that the measured ones show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A line through two points fits whatever they are.
FEWEST_RATES = 3


@dataclass(frozen=True)
class Queue:
    """A server whose latency grows with the load.

    Attributes:
        idle_ms: mean latency of a query that is alone. capacity_per_s: queries/s at which latencies
            grow without end.
    """

    idle_ms: float
    capacity_per_s: float

    def latency_ms(self, rate_per_s: float) -> float | None:
        """Mean latency at this rate; None from the capacity on."""
        if rate_per_s >= self.capacity_per_s:
            return None
        return self.idle_ms / (1 - rate_per_s / self.capacity_per_s)


def fitted(rates_per_s: Sequence[float], latencies_ms: Sequence[float]) -> Queue | None:
    """The queue that fits measured mean latencies best; None if they are too few or show none.

    Of a server that divides its speed among its queries the mean latency is idle / (1 - rate /
    capacity), whatever the lengths of the queries (processor sharing; Kleinrock, Queueing Systems
    II, 4.4). A batch is such a server as far as memory bounds it. 1 / latency then is a line in the
    rate, which least squares give.
    """
    if len(set(rates_per_s)) < FEWEST_RATES:
        return None
    slope, at_zero = np.polyfit(rates_per_s, 1 / np.asarray(latencies_ms, float), 1)
    if not (slope < 0 < at_zero):
        return None
    return Queue(idle_ms=float(1 / at_zero), capacity_per_s=float(-at_zero / slope))


def foretold(
    rates_per_s: Sequence[float], latencies_ms: Sequence[float], place: int
) -> float | None:
    """The latency, ms, that the other tests foretell for one of them; None if they cannot.

    Tests at the same rate are left out with it: else it would be measured, not foretold.
    """
    others = [at for at, rate in enumerate(rates_per_s) if rate != rates_per_s[place]]
    queue = fitted([rates_per_s[at] for at in others], [latencies_ms[at] for at in others])
    return queue.latency_ms(rates_per_s[place]) if queue else None


def widest_gap(rates_per_s: Sequence[float]) -> float:
    """The middle of the widest gap between measured rates."""
    ordered = np.unique(rates_per_s)
    at = int(np.argmax(np.diff(ordered)))
    return float((ordered[at] + ordered[at + 1]) / 2)
