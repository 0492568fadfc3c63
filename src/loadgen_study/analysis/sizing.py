"""How many replicas a demand takes, and their cost, from measured rates of one replica."""

import math
from dataclasses import astuple, dataclass
from typing import Literal

import pandas as pd

# What a sizing extrapolates.
Beyond = Literal["replicas", "rate", "spread", "closed loop"]
SLACK = 1e-9  # rounding error of an even division


@dataclass(frozen=True)
class Demand:
    """Scheduled queries, and users who wait for each answer and think before the next query.

    Attributes:
        users: active at once. think_s: from an answer to the user's next query.
    """

    queries_per_s: float = 0.0
    users: float = 0.0
    think_s: float = 0.0

    def per_s(self, latency_s: float) -> float:
        """Queries/s, by the interactive response time law: N / (R + Z) (Denning and Buzen 1978).

        Args:
            latency_s: mean time to an answer.
        """
        return self.queries_per_s + self.users / (self.think_s + latency_s)


@dataclass(frozen=True)
class Replica:
    """The measured system.

    Attributes:
        devices: of one replica. output_tokens: mean over queries.
        price_per_hour, watts: of one device; 0: not known.
    """

    devices: int
    output_tokens: float
    price_per_hour: float = 0.0
    watts: float = 0.0


@dataclass(frozen=True)
class Sizing:
    """Replicas for a demand.

    Attributes:
        demand_per_s: queries/s. per_s: of one replica within the limits; low_per_s, high_per_s: the
            lower end of its 95 % interval, and the lowest rate that breaks a limit; NaN: not known.
        replicas: at per_s. fewest, most: at high_per_s and low_per_s; None: not known.
        price_per_hour, price_per_million (output tokens), kilowatts, joules_per_token: of
            ``replicas`` at any load; NaN: not known.
        beyond: what is extrapolated.
    """

    demand_per_s: float
    per_s: float
    low_per_s: float
    high_per_s: float
    replicas: int
    fewest: int | None
    most: int | None
    price_per_hour: float
    price_per_million: float
    kilowatts: float
    joules_per_token: float
    beyond: tuple[Beyond, ...]


def size(
    points: pd.DataFrame, demand: Demand, replica: Replica, ttft_limit_ms: float,
    tpot_limit_ms: float,
) -> Sizing | None:  # fmt: skip
    """Replicas for a demand within limits; None if no measured rate keeps them.

    A replica holds the highest measured rate that keeps both limits.

    Args:
        points: (tests,) rate_per_s (completed), low_per_s (lower end of its 95 % interval, or NaN),
            offered_per_s, latency_s (mean), ttft_ms, tpot_ms (the tightest limits that the test
            keeps, or NaN if it has too few queries), closed (a fixed number of queries at once).

    Raises:
        ValueError: if the demand is not above 0, or a number is below 0.
    """
    given = (*astuple(demand), replica.price_per_hour, replica.watts)
    if not all(value >= 0 for value in given) or not demand.queries_per_s + demand.users > 0:
        raise ValueError("a demand must be above 0, and nothing below 0")
    kept = (points["ttft_ms"] <= ttft_limit_ms) & (points["tpot_ms"] <= tpot_limit_ms)
    if not kept.any():
        return None
    best = points.loc[points["rate_per_s"].where(kept).idxmax()]
    per_s, low = float(best["rate_per_s"]), float(best["low_per_s"])
    breaks = ~kept & points["ttft_ms"].notna() & (points["offered_per_s"] > per_s)
    high = float(points["offered_per_s"].where(breaks).min())
    demanded = demand.per_s(float(best["latency_s"]))
    replicas = _needed(demanded, per_s)
    beyond: dict[Beyond, bool] = {
        "replicas": replicas > 1, "rate": math.isnan(high), "spread": math.isnan(low),
        "closed loop": bool(best["closed"]),
    }  # fmt: skip
    price, kilowatts = (
        replicas * replica.devices * value if value else math.nan
        for value in (replica.price_per_hour, replica.watts / 1e3)
    )
    tokens_per_s = demanded * replica.output_tokens
    return Sizing(
        demand_per_s=demanded,
        per_s=per_s,
        low_per_s=low,
        high_per_s=high,
        replicas=replicas,
        fewest=None if math.isnan(high) else _needed(demanded, high),
        most=None if math.isnan(low) else _needed(demanded, low),
        price_per_hour=price,
        price_per_million=price / 3600 / tokens_per_s * 1e6,
        kilowatts=kilowatts,
        joules_per_token=kilowatts * 1e3 / tokens_per_s,
        beyond=tuple(name for name, true in beyond.items() if true),
    )


def _needed(demanded: float, per_s: float) -> int:
    return max(1, math.ceil(demanded / per_s - SLACK))
