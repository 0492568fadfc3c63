"""Compliance test TEST07: are the answers of a performance run as good as an accuracy run's?

A performance run of each row of a data set of its own, all of them logged and scored. Source of
the rule: mlcommons/inference, compliance/TEST07 (audit.config, run_verification.py).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from loadgen_study.accuracy.log import Answer, one_per_sample
from loadgen_study.facts.scores import Compliance
from loadgen_study.rules.audit import (
    Audited,
    ComplianceTest,
    each_once,
    headed,
    verdict,
    whole_test,
)
from vllm_loadgen.errors import BenchmarkError


def compliance_test(metric: str, least: float) -> ComplianceTest:
    """TEST07 of a benchmark.

    Args:
        metric: of the benchmark's scorer. least: of that metric.
    """
    judge = partial(_judge, metric=metric, least=least)
    return whole_test("TEST07", each_once, "verify_accuracy.txt", judge)


def _judge(
    answers: Sequence[Answer], log: Path, audited: Audited, metric: str, least: float
) -> Compliance:
    ordered = one_per_sample(answers, audited.samples, log)
    score = audited.score(ordered).get(metric)
    if score is None:
        cure = "Run it on the benchmark's own data"
        raise BenchmarkError(f"TEST07 requires {metric}, which no answer in {log} has. {cure}.")
    passed = score >= least
    lines = [
        *headed("TEST07 Verification Summary"),
        f"Accuracy score: {score}",
        f"Accuracy threshold: {least}",
        f"Accuracy check pass: {passed}",
    ]
    return verdict(passed, len(ordered), lines, f"{metric} is {score}, below {least}")
