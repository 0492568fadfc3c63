"""Throughput against latency: a test at each rate, and at each number of queries at once.

With ``repeats``, each is made several times, in mixed order. Finished tests of the same
``run_name`` are reused.
"""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from loadgen_study.analysis.closed_loop import closed_loop
from loadgen_study.analysis.percentiles import PERCENTILES
from loadgen_study.analysis.repeats import spread
from loadgen_study.facts.results import Distribution
from loadgen_study.results.run import Run, median_run, repeated_name
from loadgen_study.results.test import Test
from loadgen_study.runs.concurrency import measure_concurrency
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.peak import PROBES
from loadgen_study.runs.repeats import make_repeated, verdicts

SPREAD = ["runs", "tokens_per_s_cv", "tokens_per_s_low", "tokens_per_s_high"]
# The parts of a run that are measured at a rate, and the folders of their tests.
PARTS = {"main test": "performance", "sweep": "sweep/*", "search": PROBES}


def sweep(run: LiveRun) -> pd.DataFrame:
    """A Server test at each of ``sweep_qps``, then the tests at each of ``sweep_concurrency``.

    Returns:
        see ``sweep_table``.
    """
    rates = run.params.sweep_qps
    make_repeated(
        run, {f"sweep/{one:.12g}-qps": {"scenario": "Server", "target_qps": one} for one in rates}
    )
    if run.params.sweep_concurrency:
        measure_concurrency(run)
    return sweep_table(run.read())


def sweep_table(run: Run) -> pd.DataFrame:
    """What a run's sweep found, one row per test, of its median run; empty if there was none.

    Returns:
        index test; kind ("rate" or "concurrency"), offered (queries/s, or queries at once),
        verdict, samples_per_s, tokens_per_s, user_tokens_per_s (1 / mean TPOT: what one user
        sees), tpot_mean_ms, latency_mean_ms, goodput_per_s (queries/s that kept the limits on
        TTFT and TPOT; all, where there is none), queries, ttft_max_ms, and of TTFT and TPOT
        p50, p90 and p99, each with its bound (ttft_p90_ms, ttft_p90_upper_ms). Percentiles that no
        test has enough queries for are left out; NaN where one test has too few. Where a test was
        made more than once also runs, tokens_per_s_cv (a share; NaN of one run), tokens_per_s_low
        and tokens_per_s_high (95 %, between runs; NaN below three).
    """
    return _frame(_rows(run, "sweep"))


def points_table(run: Run) -> pd.DataFrame:
    """The rates of a run's sweep, with the run's other tests at a rate; empty without a sweep.

    Returns:
        as ``sweep_table``, the search's tests by names such as "peak/01" and the main test's by
        "performance", and part, of ``PARTS``.
    """
    found = {
        name: {"part": part, **row} for part in PARTS for name, row in _rows(run, part).items()
    }
    if not any(row["part"] == "sweep" for row in found.values()):
        return pd.DataFrame()
    table = _frame(found)
    return table[table["kind"] == "rate"]


def _rows(run: Run, part: str) -> dict[str, dict[str, object]]:
    """The tests of one of ``PARTS``; without a main test that offered no rate."""
    names = dict.fromkeys(map(repeated_name, run.finished_tests(PARTS[part])))
    tests = {name: list(run.repeats(name).values()) for name in names}
    return {
        name.removeprefix("sweep/"): _row(runs)
        for name, runs in tests.items()
        if runs and (part == "sweep" or runs[0].result.scenario_traits.scheduled)
    }


def _frame(rows: Mapping[str, dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("test")
    if frame.empty:
        return frame
    percentiles = [name for name in frame if name.startswith(("ttft_p", "tpot_p", "sent_ttft_p"))]
    lacking = [name for name in percentiles if frame[name].isna().all()]
    if (frame["runs"] == 1).all():
        lacking += SPREAD
    return frame.drop(columns=lacking).sort_values(["kind", "offered"])


def _row(runs: Sequence[Test]) -> dict[str, object]:
    test, between = median_run(runs), spread([run.metrics.tokens_per_s for run in runs])
    m = test.metrics
    # In Server the rate is the parameter, and ``concurrency`` only limits the harness.
    at_once = test.params.concurrency if test.result.scenario_traits.at_once else None
    return {
        "kind": "rate" if at_once is None else "concurrency",
        "offered": test.params.rate if at_once is None else at_once,
        "verdict": verdicts(runs),
        "samples_per_s": m.samples_per_s,
        "tokens_per_s": m.tokens_per_s,
        "user_tokens_per_s": 1e3 / m.tpot_ms.mean,
        "tpot_mean_ms": m.tpot_ms.mean,
        "latency_mean_ms": m.latency_ms.mean,
        "goodput_per_s": m.samples_per_s * test.kept_share,
        "runs": between.runs,
        "tokens_per_s_cv": between.cv,
        "tokens_per_s_low": between.low,
        "tokens_per_s_high": between.high,
        "queries": m.samples,
        "ttft_max_ms": m.ttft_ms.max,
        **_percentiles("ttft", m.ttft_ms),
        **_percentiles("tpot", m.tpot_ms),
        **(_closed(test) if at_once else {}),
    }


def _closed(test: Test) -> dict[str, object]:
    """Of the steady part of a test at a fixed number of queries at once."""
    if (found := closed_loop(test.latencies)) is None:  # no query was answered
        return {"reached": 0, "passes": 0, "steady_s": math.nan, "flat": None,
                "steady_tokens_per_s": math.nan}  # fmt: skip
    user_ms = found.tpot_ms.p90
    return {
        "reached": found.reached,
        "passes": found.passes,
        "steady_s": found.end_s - found.begin_s,
        "steady_tokens_per_s": found.tokens_per_s,
        "user_p90_tokens_per_s": 1e3 / user_ms if user_ms else math.nan,
        "flat": found.flat,
        **_percentiles("tpot", found.tpot_ms),
        **_percentiles("sent_ttft", found.ttft_ms),
    }


def _percentiles(name: str, known: Distribution) -> dict[str, float]:
    labels = [f"{label}{bound}" for label in PERCENTILES for bound in ("", "_upper")]
    return {f"{name}_{label}_ms": getattr(known, label) for label in labels}
