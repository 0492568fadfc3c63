"""The same test several times: how much of a figure is the run's own.

The runs of a test are the folders ``performance``, ``performance-2``, ``performance-3``. Each is a
whole LoadGen test with its own verdict; the report shows the median by tokens/s. All have the same
LoadGen seeds, so the same queries at the same times: only the machine differs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from loadgen_study.analysis.repeats import spread
from loadgen_study.results.run import Run, repeat_name
from loadgen_study.results.test import Test
from loadgen_study.runs.bracket import find_rate
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.peak import find_peak
from loadgen_study.runs.side_by_side import make_tests

T = TypeVar("T")
# The columns of ``repeats_table``, and the figure of a test in each.
COLUMNS = {
    "tokens/s": lambda test: test.metrics.tokens_per_s,
    "queries/s": lambda test: test.metrics.samples_per_s,
    "mean TTFT, ms": lambda test: test.metrics.ttft_ms.mean,
    "mean TPOT, ms": lambda test: test.metrics.tpot_ms.mean,
    "mean latency, ms": lambda test: test.metrics.latency_ms.mean,
}


def measure(run: LiveRun) -> Test:
    """The performance test ``repeats`` times; finished ones are reused.

    With ``target_qps`` auto or measured the rate is found first, and only the test at it is
    repeated.

    Returns:
        the median run.

    Raises:
        BenchmarkError: as ``LiveRun.once`` and ``find_peak``; what was measured is kept.
    """
    searches = {"auto": find_peak, "measured": find_rate}
    search = searches.get(str(run.params.target_qps))
    if search is not None:
        search(run)
    numbers = range(2 if search else 1, run.params.repeats + 1)
    make_tests(run, {repeat_name("performance", number): {} for number in numbers})
    test = run.read().performance
    assert test is not None  # it was just made
    return test


def mixed_order(items: Sequence[T], repeats: int) -> Iterator[tuple[T, int]]:
    """Each item with the number of its run, from 1: all once, then all again in reverse order.

    A machine that slows down with time then does not make the last item look slow.
    """
    for number in range(1, repeats + 1):
        for item in items if number % 2 else reversed(items):
            yield item, number


def make_repeated(run: LiveRun, tests: Mapping[str, Mapping[str, object]]) -> None:
    """Make performance tests, by name with what they change, ``repeats`` times in mixed order."""
    order = mixed_order(list(tests), run.params.repeats)
    make_tests(run, {repeat_name(name, number): tests[name] for name, number in order})


def verdicts(runs: Sequence[Test]) -> str:
    """LoadGen's verdict on one run, or of how many it is VALID."""
    if len({run.result.verdict for run in runs}) == 1:
        return runs[0].result.verdict or ""
    return f"VALID in {sum(run.result.verdict == 'VALID' for run in runs)} of {len(runs)}"


def repeats_table(run: Run) -> pd.DataFrame:
    """The finished runs of the performance test, and what they say together; empty below two.

    Returns:
        index run: their names, then "mean", "coefficient of variation, %" and, from three on,
        "95 % interval between runs"; the columns of ``COLUMNS`` and verdict.
    """
    tests = run.repeats("performance")
    if len(tests) < 2:
        return pd.DataFrame()
    together = ["mean", "coefficient of variation, %", "95 % interval between runs"]
    frame = pd.DataFrame(index=pd.Index([*tests, *together], name="run"))
    for title, figure in COLUMNS.items():
        values = [figure(test) for test in tests.values()]
        all_runs = spread(values)
        frame[title] = [
            *(f"{value:,.4g}" for value in values),
            f"{all_runs.mean:,.4g}",
            f"{100 * all_runs.cv:.1f}",
            f"{all_runs.low:,.4g} to {all_runs.high:,.4g}",
        ]
    frame["verdict"] = [*(test.result.verdict or "" for test in tests.values()), "", "", ""]
    return frame if len(tests) > 2 else frame.iloc[:-1]
