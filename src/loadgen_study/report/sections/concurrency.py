"""Tests at fixed numbers of queries at once: their curve and their table."""

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.report.figures import curve
from loadgen_study.report.sections.sweep import limits_table
from loadgen_study.results.run import Run

COLUMNS = (
    "verdict", "reached", "passes", "queries", "steady_tokens_per_s", "tokens_per_s",
    "user_p90_tokens_per_s", "sent_ttft_p50_ms", "sent_ttft_p90_ms", "sent_ttft_p90_upper_ms",
    "tpot_p50_ms", "tpot_p90_ms", "tpot_p90_upper_ms", "flat", "limit_share", "runs",
    "tokens_per_s_cv",
)  # fmt: skip


def parts(run: Run, sweep: pd.DataFrame) -> list[object]:
    """Text, curve and table; nothing without such tests.

    Args:
        sweep: of ``runs.sweep.sweep_table``.
    """
    tests = sweep[sweep["kind"] == "concurrency"]
    if tests.empty:
        return []
    limits = limits_table(run, tests)
    table = tests.join(limits.reindex(columns=["limit_share"])).set_index("offered")
    kept = [name for name in COLUMNS if name in table and table[name].notna().any()]
    short = [int(at_once) for at_once in table.index[table["reached"] < table.index]]
    said = render("report/sections/concurrency", short=short)
    points = curve.points(tests, limits, run.devices)
    drawn = [curve.curve(points), curve.curve_caption(points)] if len(points) > 1 else []
    return [said, *drawn, table[kept].rename_axis("queries at once")]
