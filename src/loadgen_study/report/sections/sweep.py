"""A sweep: throughput against latency, and each point against the machine's limits."""

import math

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.report.figures.runs import against_limits
from loadgen_study.results.run import Run, median_run
from loadgen_study.words import count, per_s


def text(points: pd.DataFrame) -> str:
    """The tests among ``runs.sweep.points_table`` that are not of the sweep."""
    probes = int((points["part"] == "search").sum())
    others = [f"{count(probes, 'probe')} of the search"] if probes else []
    main = points.loc[points["part"] == "main test", "offered"]
    others += [f"the main test at {per_s(rate, 4)}" for rate in main]
    return render("report/sections/sweep", others=others)


def table(rates: pd.DataFrame) -> pd.DataFrame:
    """The tests at a rate, of ``runs.sweep.sweep_table``, as they are shown."""
    known = rates.dropna(axis=1, how="all").drop(columns="kind")
    return known.rename(columns={"offered": "target, queries/s"})


def limits_parts(table: pd.DataFrame) -> list[object]:
    """Figure, sentence and table of ``limits_table``; nothing without limits."""
    if table.empty:
        return []
    text = render("report/sections/sweep_limits", share=table["limit_share"])
    return [against_limits(table), text, table]


def limits_table(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Each test of a sweep at its batch: what decode reaches of the limit there.

    Returns:
        index test; served_at_once (queries in a decode step, mean), decode_tokens_per_s,
        limit_tokens_per_s (of the nearer of bandwidth and matrix rate), limit_share of it, 0 to 1,
        and bound_by, the nearer of the two; of several runs the median. Tests without a TPOT are
        left out; empty where no limit was measured.
    """
    rows = {}
    for name in sweep.index:
        test = median_run(list(run.repeats(f"sweep/{name}").values()))
        found, shares = run.roofline_of(test), run.shares_of(test)
        if found is None or shares is None or math.isnan(shares.decode.share):
            continue
        at_once, decode = run.steps_at_once * found.batch, shares.decode
        rows[name] = {
            "served_at_once": at_once,
            "decode_tokens_per_s": at_once / decode.took_ms * 1e3,
            "limit_tokens_per_s": at_once / decode.least_ms * 1e3,
            "limit_share": decode.share,
            "bound_by": "matrix rate" if decode.computing else "memory bandwidth",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("test")
