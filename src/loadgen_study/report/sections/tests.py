"""The tests of a run, LoadGen's verdict on one, and how much repeated tests vary."""

import pandas as pd

from loadgen_study.analysis.repeats import spread
from loadgen_study.findings.validity import what_would_make_valid
from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.repeats import verdicts
from loadgen_study.words import fixed


def verdict_text(test: Test) -> str:
    """LoadGen's verdict with its reasons, and what would make an INVALID test valid."""
    return render(
        "report/sections/verdict",
        verdict=test.result.verdict,
        reasons=[reason.removeprefix("* ") for reason in test.result.verdict_reasons],
        cures=list(what_would_make_valid(test).values()),
    )


def repeats_text(run: Run) -> str:
    """How much the performance test varies from run to run; empty without a finished one."""
    runs = list(run.repeats("performance").values())
    if not runs:
        return ""
    return render(
        "report/sections/tests",
        runs=len(runs),
        requested=run.params.repeats,
        verdicts=verdicts(runs),
        median=run.performance_name,
        between=spread([test.metrics.tokens_per_s for test in runs]),
    )


def tests_table(run: Run) -> pd.DataFrame:
    """Samples, duration, status and verdict of each test and its repeats; empty without one."""
    names = dict.fromkeys(("accuracy", "performance", *run.repeats("performance")))
    judged = run.accuracy.verdict.status if run.accuracy else ""
    rows = {
        name: {
            "scenario": result.scenario,
            "samples": result.queries,
            "duration, s": fixed(result.duration_s),
            "status": result.status,
            "verdict": judged if name == "accuracy" else result.verdict or "",
            "errors logged": "" if result.num_errors is None else result.num_errors,
        }
        for name, result in ((name, run.test(name).result) for name in names if run.has(name))
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Test")
