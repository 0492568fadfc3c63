"""Tests at fixed numbers of queries at once, from few to many, within a budget of time.

LoadGen has no such load: it gives all queries at 0 s (Offline), and the harness holds them back.
Its verdict says nothing of latency there. A test has whole passes over the data and lasts for
``min_duration_ms`` at least, as far as the rate can be foreseen and the budget allows.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from loadgen_study.analysis.closed_loop import closed_loop
from loadgen_study.analysis.percentiles import queries_needed
from loadgen_study.results.run import median_run, repeat_name
from loadgen_study.results.test import Test
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.peak import OFFLINE
from loadgen_study.runs.repeats import mixed_order
from loadgen_study.runs.side_by_side import make_tests
from loadgen_study.words import count, say_duration
from vllm_loadgen.harness.loadgen import expected_queries

# "auto" ends where twice as many queries at once gain less, or the KV cache is as full as this.
LEAST_GAIN, FULL_SHARE = 0.05, 0.95


@dataclass(frozen=True)
class Size:
    """The length of a test: its queries, and the time that it is expected to take."""

    queries: int
    expected_s: float


def measure_concurrency(run: LiveRun, say: Callable[[str], object] = print) -> None:
    """An Offline test at each of ``sweep_concurrency``, fewest queries at once first.

    By workers all at once, unless "auto" asks for one after another. A sweep resumes: what was
    finished under the same ``run_name`` is not made again.

    Args:
        say: takes a line before each test, with its expected time, and one where the sweep ends.
    """
    asked, budget_s = run.params.sweep_concurrency, run.params.sweep_budget_s or math.inf
    one_pass = _queries(run, 1)
    spent_s, before = 0.0, run.read().performance
    if run.params.side_by_side and asked != "auto":
        sizes = [_size(run, at_once, before, one_pass, budget_s) for at_once in asked]
        _make(run, {at_once: size.queries for at_once, size in zip(asked, sizes, strict=True)})
        return
    for at_once in _doubling(one_pass) if asked == "auto" else sorted(asked):
        size = _size(run, at_once, before, one_pass, budget_s - spent_s)
        took = "" if math.isnan(size.expected_s) else f", about {say_duration(size.expected_s)}"
        if size.expected_s > budget_s - spent_s:
            say(f"{at_once} at once: left out{took} (sweep_budget_s = {budget_s:g})")
            return
        say(f"{at_once} at once: {count(size.queries, 'query')}{took}")
        _make(run, {at_once: size.queries})
        tests = list(run.read().repeats(f"sweep/{at_once}-at-once").values())
        test = median_run(tests)
        spent_s += sum(one.result.duration_s for one in tests)
        if asked == "auto" and (why := _enough(before, test, at_once)):
            say(f"{at_once} at once: the last, since {why}")
            return
        before = test


def _doubling(most: int) -> Iterator[int]:
    at_once = 1
    while at_once <= most:
        yield at_once
        at_once *= 2


def _queries(run: LiveRun, least: int) -> int:
    """Queries of a test that asks for so many: whole passes over the data."""
    params = run.test_params("performance", {**OFFLINE, "min_query_count": least})
    return expected_queries(params, len(run.samples), "performance")


def _size(run: LiveRun, at_once: int, before: Test | None, one_pass: int, left_s: float) -> Size:
    """Passes enough for ``min_duration_ms``, but no more than there is time for, and at least one.

    Args:
        before: a test with fewer queries at once, or the main test.
    """
    fastest, slowest = _rates(before, at_once)
    wanted = fastest * (run.params.min_duration_ms or 0) / 1e3
    # A p90 of the queries that lie wholly in the steady part: not those that are there until the
    # first so many have ended, up to twice that number, nor those that are there at the last one.
    least = max(run.params.min_query_count or 1, queries_needed(0.9) + 3 * at_once)
    wanted = max(least, 0 if math.isnan(wanted) else math.ceil(wanted))
    queries, each_s = _queries(run, wanted), run.params.repeats / slowest
    if queries * each_s > left_s:
        queries = max(one_pass, int(left_s / each_s) // one_pass * one_pass)
    return Size(queries, queries * each_s)


def _rates(before: Test | None, at_once: int) -> tuple[float, float]:
    """Bounds of the queries/s with so many at once; NaN where nothing was measured.

    More at once are not slower together, and each of them is not faster than with fewer.
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
    """The tests of these numbers at once, with so many queries each, as often as ``repeats``."""
    changes = {}
    for at_once, asked in queries.items():
        # One that was finished before keeps its length, whatever other points there were.
        made = run.read().repeats(f"sweep/{at_once}-at-once").values()
        lengths = [test.params.min_query_count for test in made]
        length = lengths[0] if lengths else asked
        changes[at_once] = {**OFFLINE, "concurrency": at_once, "min_query_count": length}
    order = mixed_order(list(queries), run.params.repeats)
    tests = {repeat_name(f"sweep/{at_once}-at-once", n): changes[at_once] for at_once, n in order}
    make_tests(run, tests)


def _enough(before: Test | None, test: Test, at_once: int) -> str:
    """Why more queries at once would show nothing new; empty if they might."""
    found = closed_loop(test.latencies)
    if found and found.reached < at_once:
        return f"no more than {found.reached} queries were there at once"
    steps = test.steps
    if not steps.empty and steps["kv_cache_share"].max() >= FULL_SHARE:
        return "the KV cache was full"
    if not steps.empty and steps["running"].max() < at_once:
        return f"the engine ran no more than {steps['running'].max():.0f} queries at once"
    if before is None or not before.params.concurrency:
        return ""
    gain = test.metrics.tokens_per_s / before.metrics.tokens_per_s - 1
    return f"tokens/s grew by {gain * 100:.1f} %" if gain < LEAST_GAIN else ""
