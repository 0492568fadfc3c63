"""What the notebooks call: ``from loadgen_study import notebook as nb``."""

from loadgen_study.accuracy.scores import sample_table
from loadgen_study.report.display import Section, table
from loadgen_study.report.parameters import (
    curves_to_compare,
    parameters,
    parameters_shown,
    run_to_read,
    runs_to_compare,
)
from loadgen_study.report.report import Report
from loadgen_study.report.sections import accuracy, setup, tests
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.compare import digest
from loadgen_study.runs.halving import tune
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.repeats import measure
from loadgen_study.runs.served import compare_in_process
from loadgen_study.runs.sweep import sweep
from loadgen_study.words import visible

__all__ = [
    "LiveRun",
    "Report",
    "accuracy",
    "compare_in_process",
    "curves_to_compare",
    "digest",
    "measure",
    "parameters",
    "parameters_shown",
    "run_to_read",
    "runs_to_compare",
    "sample_table",
    "setup",
    "sweep",
    "table",
    "tests_shown",
    "tune",
    "verdict_shown",
    "visible",
]


def tests_shown(run: Run) -> Section:
    """The run's tests so far, and how much repeats of one differ."""
    return Section(tests.tests_table(run), tests.repeats_text(run))


def verdict_shown(test: Test) -> Section:
    """LoadGen's verdict with its reasons."""
    return Section(tests.verdict_text(test))
