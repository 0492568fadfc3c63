"""Replicas, money and power for a demand: the measured points, the chart, the console's lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from loadgen_study.analysis.early_stopping import judged_share, tightest_ms
from loadgen_study.analysis.repeats import spread
from loadgen_study.analysis.sizing import Demand, Replica, size
from loadgen_study.prose import render
from loadgen_study.report.figures import sizing as figure
from loadgen_study.results.run import Run, median_run, repeated_name
from loadgen_study.results.test import Test
from loadgen_study.runs.sweep import PARTS
from vllm_loadgen.errors import ParameterError

FEWEST_POINTS = 2  # a single rate does not bound what a replica holds


def parts(run: Run) -> list[object]:
    """Chart with its inputs, and a caption; empty for a run at a single rate."""
    points = points_of(run)
    if len(points) < FEWEST_POINTS or points["ttft_ms"].isna().all():
        return []
    replica, limits = replica_of(run), limits_of(run, points)
    said = render("report/sections/sizing", replica=replica, tests=len(points))
    return [figure.chart(points, replica, limits), said]


def points_of(run: Run) -> pd.DataFrame:
    """The tests of a run that bound what a replica holds: at rates, else at queries at once.

    Returns:
        as ``analysis.sizing.size`` takes them, by rising rate.
    """
    names = dict.fromkeys(
        repeated_name(name) for part in PARTS.values() for name in run.finished_tests(part)
    )
    made = [runs for name in names if (runs := list(run.repeats(name).values()))]
    rates = [runs for runs in made if runs[0].result.scenario_traits.scheduled]
    closed = [runs for runs in made if runs[0].params.concurrency is not None]
    frame = pd.DataFrame([_point(runs) for runs in rates or closed])
    return frame.sort_values("rate_per_s", ignore_index=True) if len(frame) else frame


def _point(runs: Sequence[Test]) -> dict[str, float]:
    test, is_open = median_run(runs), runs[0].result.scenario_traits.scheduled
    share = judged_share(test.result)
    rate = spread([one.metrics.samples_per_s for one in runs])
    offered = test.metrics.due_per_s if is_open else None
    # With a fixed number of queries at once TTFT counts from send.
    ttft = "ttft_ms" if is_open else "sent_ttft_ms"
    frames = [one.latencies.assign(ttft_ms=one.latencies[ttft]) for one in runs]
    kept = [tightest_ms(frame, share) for frame in frames]
    limits = {
        f"{name}_ms": max(one[name] if one else math.nan for one in kept)
        for name in ("ttft", "tpot")
    }
    return {
        "rate_per_s": rate.mean,
        "low_per_s": rate.low if rate.low > 0 else math.nan,
        "offered_per_s": offered or rate.mean,
        "latency_s": test.metrics.latency_ms.mean / 1e3,
        **limits,
        "closed": float(not is_open),
    }


def replica_of(run: Run) -> Replica:
    """One replica: the measured system."""
    test, price = run.performance, run.params.price_per_hour or 0.0
    energy = test.energy if test else None
    watts = sum(energy.watts.values()) if energy else 0.0
    tokens = test.metrics.output_tokens.mean if test else math.nan
    return Replica(run.devices, tokens, price / run.devices, watts / run.devices)


def limits_of(run: Run, points: pd.DataFrame) -> dict[str, float]:
    """The run's own limits, or else the tightest that all tests keep."""
    own = run.performance.limits_ms if run.performance else {}
    return {
        f"{name}_limit_ms": own.get(name) or math.ceil(points[f"{name}_ms"].max())
        for name in ("ttft", "tpot")
    }


def lines(run: Run, demand: Demand, **changes: float) -> list[str]:
    """The chart's lines, for a console.

    Args:
        changes: price_per_hour and watts of a device, ttft_limit_ms, tpot_limit_ms; 0: the run's.

    Raises:
        ParameterError: if the run does not bound what a replica holds, or for a number that is
            below 0 or not finite.
    """
    _check(demand, changes)
    points = points_of(run)
    if len(points) < FEWEST_POINTS:
        cure = "search for its peak (target_qps auto) or sweep rates (sweep_qps)"
        raise ParameterError(
            "run", run.display_path(), "was measured at fewer than two rates", cure
        )
    replica, limits = replica_of(run), limits_of(run, points)
    known = {name: value for name, value in changes.items() if value}
    limits |= {name: value for name, value in known.items() if name in limits}
    price = known.get("price_per_hour", replica.price_per_hour)
    replica = replace(replica, price_per_hour=price, watts=known.get("watts", replica.watts))
    found = size(points, demand, replica, **limits)
    return [f"{name}: {text}" for name, text in figure.said(found).items()]


def _check(demand: Demand, changes: Mapping[str, float]) -> None:
    given = {"qps": demand.queries_per_s, "users": demand.users, "think": demand.think_s}
    for name, value in {**given, **changes}.items():
        if not 0 <= value < math.inf:
            raise ParameterError(name, value, "must be 0 or more, and finite", "give such a number")
    if not demand.queries_per_s + demand.users > 0:
        raise ParameterError("qps", 0, "there is no demand", "give --qps or --users above 0")
