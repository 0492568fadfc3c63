"""The same test several times: how much of a figure is the run's own.

The runs of a test lie side by side, as ``performance``, ``performance-2``, ``performance-3``. Each
is a whole LoadGen test with its own verdict; the report's is the median by tokens/s. LoadGen's
seeds are the same in all, so the queries and the times when they are due are, too: what differs is
the machine.
"""

from collections.abc import Iterator, Sequence
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
# Of a row of ``repeats_table``: what it is called, and the figure.
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
    """Each item with the number of its run, from 1: all once, then all again the other way round.

    So a machine that grows slower with time does not make the last item look slow.
    """
    for number in range(1, repeats + 1):
        for item in items if number % 2 else reversed(items):
            yield item, number


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
    rows: dict[str, dict[str, object]] = {
        name: {title: f"{figure(test):,.4g}" for title, figure in COLUMNS.items()}
        | {"verdict": test.result.verdict}
        for name, test in tests.items()
    }
    found = {t: spread([figure(test) for test in tests.values()]) for t, figure in COLUMNS.items()}
    rows["mean"] = {title: f"{one.mean:,.4g}" for title, one in found.items()}
    rows["coefficient of variation, %"] = {t: f"{100 * one.cv:.1f}" for t, one in found.items()}
    if len(tests) > 2:
        rows["95 % interval between runs"] = {
            title: f"{one.low:,.4g} to {one.high:,.4g}" for title, one in found.items()
        }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")
    return frame.fillna({"verdict": ""})
