"""Replicas for a demand: by hand, and against simulated replicas that share the queries."""

import heapq

import numpy as np
import pandas as pd
import pytest

from loadgen_study.analysis.early_stopping import tightest_ms
from loadgen_study.analysis.sizing import Demand, Replica, size

NAN = float("nan")
# rate, its lower end, offered, latency, TTFT and TPOT kept
POINTS = pd.DataFrame(
    [(2.0, 1.9, 2.1, 1.0, 300.0, 20.0, 0.0), (4.0, 3.6, 4.1, 2.0, 800.0, 30.0, 0.0),
     (5.0, NAN, 6.0, 9.0, 5000.0, 60.0, 0.0)],
    columns=["rate_per_s", "low_per_s", "offered_per_s", "latency_s", "ttft_ms", "tpot_ms",
             "closed"],
)  # fmt: skip
REPLICA = Replica(devices=2, output_tokens=100.0, price_per_hour=3.0, watts=250.0)


def test_a_demand_takes_replicas_money_and_power():
    found = size(POINTS, Demand(queries_per_s=20.0), REPLICA, 1000.0, 100.0)
    assert (found.per_s, found.low_per_s, found.high_per_s) == (4.0, 3.6, 6.0)
    assert (found.replicas, found.fewest, found.most) == (5, 4, 6)
    assert found.price_per_hour == 5 * 2 * 3.0
    assert found.price_per_million == pytest.approx(30 / (20 * 100 * 3600) * 1e6)
    assert found.kilowatts == 2.5
    assert found.joules_per_token == pytest.approx(2500 / 2000)
    assert found.beyond == ("replicas",)


@pytest.mark.parametrize(
    ("limits", "per_s", "high"),
    [
        ((300, 20), 2.0, 4.1),
        ((299, 100), None, None),
        ((1000, 25), 2.0, 4.1),
        ((9e3, 60), 5.0, NAN),
    ],
)
def test_the_limits_choose_the_rate(limits, per_s, high):
    found = size(POINTS, Demand(1.0), REPLICA, *limits)
    if per_s is None:
        assert found is None
    else:
        assert (found.per_s, found.replicas) == (per_s, 1)
        assert found.high_per_s == pytest.approx(high, nan_ok=True)
        assert ("rate" in found.beyond) == bool(np.isnan(high))


def test_users_think_and_wait():
    # 100 users, 2 s for an answer and 8 s to think: 10 queries/s.
    found = size(POINTS, Demand(users=100, think_s=8.0), REPLICA, 1000, 100)
    assert (found.demand_per_s, found.replicas) == (10.0, 3)


def test_what_is_not_known_is_not_counted():
    free = Replica(1, 100.0)
    found = size(POINTS, Demand(1.0), free, 9e3, 100)
    assert all(np.isnan([found.price_per_hour, found.kilowatts, found.joules_per_token]))
    assert (found.most, found.fewest) == (None, None)
    assert found.beyond == ("rate", "spread")
    closed = size(POINTS.assign(closed=1.0), Demand(1.0), free, 1000, 100)
    assert closed.beyond == ("closed loop",)


@pytest.mark.parametrize(
    ("demand", "replica"),
    [(Demand(0.0), REPLICA), (Demand(-1.0), REPLICA), (Demand(NAN), REPLICA),
     (Demand(1.0, users=-1), REPLICA), (Demand(users=1, think_s=-1), REPLICA),
     (Demand(1.0), Replica(1, 1.0, price_per_hour=-1))],
)  # fmt: skip
def test_no_demand_and_a_negative_price_are_refused(demand, replica):
    with pytest.raises(ValueError, match="must be above 0, and nothing below 0"):
        size(POINTS, demand, replica, 1000, 100)


# Simulated ---------------------------------------------------------------------------------------
SLOTS, SERVICE_S, LIMIT_MS = 8, 1.0, 500.0  # a replica serves 8 queries/s at most
QUERIES = 20_000


def waits_ms(rate_per_s, replicas, seed):
    """Waiting times of Poisson arrivals, each to a replica at random."""
    rng = np.random.default_rng(seed)
    due_s = np.cumsum(rng.exponential(1 / rate_per_s, QUERIES))
    chosen = rng.integers(replicas, size=QUERIES)
    free_s = [[0.0] * SLOTS for _ in range(replicas)]
    found = np.empty(QUERIES)
    for i, at_s in enumerate(due_s):
        slots = free_s[chosen[i]]
        begin_s = max(at_s, heapq.heappop(slots))
        heapq.heappush(slots, begin_s + SERVICE_S)
        found[i] = 1e3 * (begin_s - at_s)
    return found


def test_simulated_replicas_hold_what_is_computed():
    rows = []
    for seed, rate in enumerate(np.arange(3.5, 7.6, 0.5)):
        waited = waits_ms(rate, 1, seed)
        frame = pd.DataFrame({"ttft_ms": waited, "tpot_ms": 1.0})
        kept = tightest_ms(frame, 0.99)
        rows.append((rate, rate, rate, 1 + waited.mean() / 1e3, kept["ttft"], kept["tpot"], 0.0))
    points = pd.DataFrame(rows, columns=POINTS.columns)
    demand = 60.0
    found = size(points, Demand(demand), REPLICA, LIMIT_MS, 10.0)
    assert 3.5 < found.per_s < 7.5
    assert found.fewest < found.replicas
    late = {n: np.mean(waits_ms(demand, n, 11) > LIMIT_MS)
            for n in (found.replicas, found.fewest - 1)}  # fmt: skip
    assert late[found.replicas] <= 0.01 < late[found.fewest - 1]
