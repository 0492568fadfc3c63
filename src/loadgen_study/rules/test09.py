"""Compliance test TEST09: are the answers of a performance run as long as the reference's?

A performance run of each row of the performance data, all of them logged. Source of the rule:
mlcommons/inference, compliance/TEST09 (audit.config, run_verification.py).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

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

MOST_LOGGED = 10_000  # of MLCommons' audit.config


def compliance_test(least_tokens: float, most_tokens: float) -> ComplianceTest:
    """TEST09 of a benchmark.

    Args:
        least_tokens, most_tokens: of the mean answer.
    """
    judge = partial(_judge, least_tokens=least_tokens, most_tokens=most_tokens)
    return whole_test("TEST09", _settings, "verify_output_len.txt", judge)


def _settings(samples: int) -> dict[str, int]:
    return each_once(samples) | {"accuracy_log_sampling_target": max(MOST_LOGGED, samples)}


def _judge(
    answers: Sequence[Answer], log: Path, audited: Audited, least_tokens: float, most_tokens: float
) -> Compliance:
    one_per_sample(answers, audited.samples, log)
    tokens = np.array([len(answer.tokens) for answer in answers])
    mean = float(tokens.mean())
    above, below = mean >= least_tokens, mean <= most_tokens
    passed = above and below
    lines = [
        *headed("TEST09: Verify Output Token Length in Performance Mode"),
        f"Total samples: {len(tokens)}",
        f"Mean output tokens: {mean:.2f}",
        f"Min output tokens: {tokens.min()}",
        f"Max output tokens: {tokens.max()}",
        f"Std deviation: {tokens.std():.2f}",
        *headed("Verification Results"),
        f"Mean output tokens: {mean:.2f}",
        f"Min threshold: {least_tokens}",
        f"Max threshold: {most_tokens}",
        f"Min check pass: {above}",
        f"Max check pass: {below}",
    ]
    problem = f"answers have {mean:.2f} tokens on average, outside {least_tokens} to {most_tokens}"
    return verdict(passed, len(tokens), lines, problem)
