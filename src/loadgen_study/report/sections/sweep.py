"""Throughput against latency: what a sweep's chart holds."""

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.words import count, per_s


def text(points: pd.DataFrame) -> str:
    """The tests in the chart that are not of the sweep, and what Offline points lack.

    Args:
        points: of ``runs.sweep.points_table``.
    """
    probes = int((points["part"] == "search").sum())
    others = [f"{count(probes, 'probe')} of the search"] if probes else []
    main = points.loc[points["part"] == "main test", "offered"]
    others += [f"the main test at {per_s(rate, 4)}" for rate in main]
    offline = bool((points["kind"] == "concurrency").any())
    return render("report/sections/sweep", others=others, offline=offline)


def tables(sweep: pd.DataFrame) -> list[pd.DataFrame]:
    """The rates of a sweep, and apart from them its numbers of queries at once.

    Those have no limits and are all due at 0 s: no verdict, goodput, TTFT and latency.

    Args:
        sweep: of ``runs.sweep.sweep_table``.
    """
    kinds = {
        kind: sweep[sweep["kind"] == kind]
        .dropna(axis=1, how="all")
        .drop(columns="kind")
        .rename(columns={"offered": title})
        for kind, title in (("rate", "target, queries/s"), ("concurrency", "queries at once"))
    }
    at_once = kinds["concurrency"]
    says_nothing = [name for name in at_once if name.startswith(("ttft", "latency"))]
    lacking = ["verdict", "goodput_per_s", *says_nothing]
    kinds["concurrency"] = at_once.drop(columns=lacking, errors="ignore")
    return [table for table in kinds.values() if len(table)]
