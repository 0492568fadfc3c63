"""The run compared with the run before it: the tests that both made of the same identity."""

from collections.abc import Callable, Iterator
from functools import partial
from heapq import nlargest

import pandas as pd

from loadgen_study.analysis.decision import Decision, decide
from loadgen_study.analysis.early_stopping import judged_share
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.prose import render
from loadgen_study.results.identity import identity
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.words import change, significant
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.records.result import Mode

MOST_READ = 50  # of the folders next to the run's, newest first
MODES: tuple[Mode, ...] = ("performance", "accuracy")
Tests = dict[Mode, list[Test]]
Figure = tuple[Callable[[Test], float], bool]  # and whether more is better


def parts(run: Run) -> list[object]:
    """Sentence and table; nothing without an earlier run in the same folder."""
    now = {mode: _tests(run, mode) for mode in MODES}
    if (found := max(_earlier(run, now), key=lambda one: one[0], default=None)) is None:
        return []
    _, name, before = found
    return [render("report/sections/previous", name=name), table(before, now)]


def _earlier(run: Run, now: Tests) -> Iterator[tuple[str, str, Tests]]:
    """Start, name and tests of each earlier run that shares an identity with this one."""
    begins = [tests[0].result.started_at for tests in now.values() if tests]
    folder = run.folder.resolve()
    paths = list(folder.parent.glob("*/*/result.json"))
    newest = nlargest(MOST_READ, paths, key=lambda one: one.stat().st_mtime)
    for other in dict.fromkeys(path.parents[1] for path in newest):
        if other == folder or not begins:
            continue
        try:
            tests = _shared(Run.open(other), run, now)
        except BenchmarkError:  # of another version, or damaged
            continue
        begun = [each[0].result.started_at for each in tests.values() if each]
        if begun and max(begun) < min(begins):
            yield max(begun), other.name, tests


def _shared(other: Run, run: Run, now: Tests) -> Tests:
    """The tests of another run that have the same identity as this run's."""
    found: Tests = {}
    for mode, tests in now.items():
        theirs = _tests(other, mode) if tests else []
        if theirs and _identity(other, theirs[0], mode) == _identity(run, tests[0], mode):
            found[mode] = theirs
    return found


def _tests(run: Run, mode: Mode) -> list[Test]:
    tests: list[Test] = []
    if mode == "performance":
        tests = list(run.repeats(mode).values())
    elif run.finished(mode) and not run.test(mode).result.resumed_samples:
        tests = [run.test(mode)]
    return [test for test in tests if test.result.complete]


def _identity(run: Run, test: Test, mode: Mode) -> object:
    data = run.scored_data if mode == "accuracy" else run.dataset
    return identity(mode, test.params, run.model, data, run.environment)


def table(before: Tests, now: Tests) -> pd.DataFrame:
    """Each figure before and now, its change, and what that decides."""
    rows = {}
    for mode, tests in before.items():
        for title, (figure, higher_is_better) in _figures(mode, now[mode][0]).items():
            base, new = ([figure(test) for test in each] for each in (tests, now[mode]))
            if all(value > 0 for value in (*base, *new)):
                found = decide(base, new, higher_is_better=higher_is_better)
                rows[title] = {
                    "before": significant(sum(base) / len(base)),
                    "now": significant(sum(new) / len(new)),
                    "change": change(found.change),
                    "decision": _said(found),
                }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Compared with the run before")


def _figures(mode: Mode, test: Test) -> dict[str, Figure]:
    if mode == "accuracy":
        return {"batch throughput, tokens/s": (lambda one: one.metrics.tokens_per_s, True)}
    share = judged_share(test.result)
    names = test.result.scenario_traits.judged or ("tpot",)
    latencies: dict[str, Figure] = {
        f"{name.upper()} p{share * 100:g}, ms": (partial(_at, f"{name}_ms", share), False)
        for name in names
    }
    return {"output tokens/s": (lambda one: one.metrics.tokens_per_s, True), **latencies}


def _at(column: str, share: float, test: Test) -> float:
    return percentile(test.latencies[column], share)


def _said(found: Decision) -> str:
    if found.outcome == "same":
        return "same within 3 %"
    return found.outcome + (f" ({found.more_runs} more runs would)" if found.more_runs else "")
