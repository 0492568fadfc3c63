"""Tests at fixed numbers of queries at once, from few to many, within a budget of time.

LoadGen has no such load: it gives all queries at 0 s (Offline), and the harness holds them back, so
LoadGen's verdict does not cover latency. A test makes whole passes over the data and lasts at least
``min_duration_ms``, as far as the rate can be foreseen and the budget allows.
"""

import math
from collections.abc import Callable, Mapping

from loadgen_study.analysis.closed_loop import closed_loop
from loadgen_study.analysis.percentiles import queries_needed
from loadgen_study.results.run import median_run
from loadgen_study.results.test import Test
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.peak import OFFLINE
from loadgen_study.runs.repeats import make_repeated
from loadgen_study.words import count, say_duration
from vllm_loadgen.harness.loadgen import expected_queries

# "auto" ends where twice as many queries at once gain less, or the KV cache is as full as this.
LEAST_GAIN, FULL_SHARE = 0.05, 0.95


def measure_concurrency(run: LiveRun, say: Callable[[str], object] = print) -> None:
    """An Offline test at each of ``sweep_concurrency``, fewest queries at once first.

    Workers make all tests at the same time, except with "auto". Finished tests of the same
    ``run_name`` are reused.

    Args:
        say: takes a line before each test, with its expected time, and one where the sweep ends.
    """
    asked, budget_s = run.params.sweep_concurrency, run.params.sweep_budget_s or math.inf
    before, left_s = run.read().performance, budget_s
    if run.params.side_by_side and asked != "auto":
        _make(run, {at_once: _size(run, at_once, before, left_s)[0] for at_once in asked})
        return
    doubled = [2**power for power in range(_queries(run, 1).bit_length())]
    for at_once in doubled if asked == "auto" else sorted(asked):
        queries, expected_s = _size(run, at_once, before, left_s)
        took = "" if math.isnan(expected_s) else f", about {say_duration(expected_s)}"
        if expected_s > left_s:
            say(f"{at_once} at once: left out{took} (sweep_budget_s = {budget_s:g})")
            return
        say(f"{at_once} at once: {count(queries, 'query')}{took}")
        _make(run, {at_once: queries})
        tests = list(run.read().repeats(f"sweep/{at_once}-at-once").values())
        test = median_run(tests)
        left_s -= sum(one.result.duration_s for one in tests)
        if asked == "auto" and (why := _enough(before, test, at_once)):
            say(f"{at_once} at once: the last, since {why}")
            return
        before = test


def _queries(run: LiveRun, least: int) -> int:
    """Queries of a test of at least ``least``: whole passes over the data."""
    params = run.test_params("performance", {**OFFLINE, "min_query_count": least})
    return expected_queries(params, len(run.samples), "performance")


def _size(run: LiveRun, at_once: int, before: Test | None, left_s: float) -> tuple[int, float]:
    """The queries of a test, and the time that it is expected to take, s; NaN if not known.

    Enough passes for ``min_duration_ms``, but no more than there is time for, and at least one.

    Args:
        before: a test with fewer queries at once, or the main test.
    """
    fastest, slowest = _rates(before, at_once)
    wanted = fastest * (run.params.min_duration_ms or 0) / 1e3
    # Enough for a p90 of the queries that lie wholly in the steady part: up to twice ``at_once`` of
    # them ramp up, and ``at_once`` are there at the end.
    least = max(run.params.min_query_count or 1, queries_needed(0.9) + 3 * at_once)
    wanted = max(least, 0 if math.isnan(wanted) else math.ceil(wanted))
    queries, each_s = _queries(run, wanted), run.params.repeats / slowest
    if queries * each_s > left_s:
        one_pass = _queries(run, 1)
        queries = max(one_pass, int(left_s / each_s) // one_pass * one_pass)
    return queries, queries * each_s


def _rates(before: Test | None, at_once: int) -> tuple[float, float]:
    """Upper and lower bound of the queries/s with ``at_once``; NaN where nothing was measured.

    More queries at once are not slower together, and none of them is faster than with fewer.
    """
    if before is None or not before.metrics.completed:
        return math.nan, math.nan
    if (held := before.params.concurrency) and before.result.scenario_traits.at_once:
        rate = before.metrics.samples_per_s
        return rate * max(1.0, at_once / held), rate
    took_s = (before.latencies["done_s"] - before.latencies["given_s"]).dropna()
    if took_s.empty:
        return math.nan, math.nan
    return at_once / float(took_s.quantile(0.1)), 1 / float(took_s.quantile(0.9))


def _make(run: LiveRun, queries: Mapping[int, int]) -> None:
    """Make the tests at each number of queries at once, ``repeats`` times.

    Args:
        queries: of a test, by the number at once.
    """
    tests = {}
    for at_once, asked in queries.items():
        name = f"sweep/{at_once}-at-once"
        # A test that was finished before keeps its length.
        made = list(run.read().repeats(name).values())
        length = made[0].params.min_query_count if made else asked
        tests[name] = {**OFFLINE, "concurrency": at_once, "min_query_count": length}
    make_repeated(run, tests)


def _enough(before: Test | None, test: Test, at_once: int) -> str:
    """Why more queries at once would show nothing new; empty if they might."""
    found = closed_loop(test.latencies)
    if found and found.reached < at_once:
        return f"no more than {found.reached} queries were there at once"
    if not (steps := test.steps).empty:
        if steps["kv_cache_share"].max() >= FULL_SHARE:
            return "the KV cache was full"
        if steps["running"].max() < at_once:
            return f"the engine ran no more than {steps['running'].max():.0f} queries at once"
    if before is None or not before.params.concurrency:
        return ""
    gain = test.metrics.tokens_per_s / before.metrics.tokens_per_s - 1
    return f"tokens/s grew by {gain * 100:.1f} %" if gain < LEAST_GAIN else ""
