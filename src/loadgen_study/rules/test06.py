"""Compliance test TEST06: does the engine report the tokens that it made?

A performance run of 100 queries whose answers LoadGen logs, by an audit.config. Source of the
rule: mlcommons/inference, compliance/TEST06/run_verification.py.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from loadgen_study.accuracy.log import Answer
from loadgen_study.facts.scores import Compliance
from loadgen_study.rules.audit import Audited, ComplianceTest
from vllm_loadgen.traits import SCENARIOS

PASSED = "TEST06 verification complete"


def _judge(answers: Sequence[Answer], _: Path, audited: Audited) -> Compliance:
    """Check each logged answer.

    The official script takes one id that ends an answer, and by default compares it as text.
    """
    checks: dict[str, list[str] | None] = {
        # In Offline no first token is reported apart from the answer.
        "First token": None
        if SCENARIOS[audited.scenario].at_once
        else _all(answers, _first_token_fault),
        "EOS": _all(answers, lambda answer: _end_fault(answer, set(audited.eos_token_ids))),
        "Sample length": _all(answers, _length_fault),
    }
    passed = not any(checks.values())
    lines = [
        f"{name} check pass: {'Skipped' if faults is None else not faults}"
        for name, faults in checks.items()
    ]
    lines.append(PASSED if passed else "TEST06 verification failed")
    return Compliance(
        status="PASS" if passed else "FAIL",
        samples=len(answers),
        lines=tuple(lines),
        failures=tuple(fault for faults in checks.values() for fault in faults or []),
    )


# compliance/TEST06/audit.config in mlcommons/inference.
TEST06 = ComplianceTest(
    name="TEST06",
    settings=lambda _: {"accuracy_log_sampling_target": 100, "min_query_count": 100},
    verdict_file="verify_accuracy.txt",
    passed=PASSED,
    judge=_judge,
    folder="compliance",
)


def _all(answers: Sequence[Answer], fault: Callable[[Answer], str]) -> list[str]:
    """A line for each answer in which ``fault`` finds something."""
    found = ((answer.seq_id, fault(answer)) for answer in answers)
    return [f"query {seq_id}: {text}" for seq_id, text in found if text]


def _first_token_fault(answer: Answer) -> str:
    """The official script passes an answer without a first token; here it fails."""
    first, tokens = answer.first_tokens, answer.tokens
    if first is None or not len(first):
        return "no first token was reported"
    if not np.array_equal(first, tokens[: len(first)]):
        begins = tokens[:1].tolist()
        return f"the first token was reported as {first.tolist()}, the answer begins {begins}"
    return ""


def _end_fault(answer: Answer, ends: set[int]) -> str:
    """At most one end of text at the end; the first token does not count (an empty answer)."""
    others = np.flatnonzero(~np.isin(answer.tokens[1:], list(ends)))
    count = len(answer.tokens) - 1 - (others[-1] + 1 if len(others) else 0)
    return f"the answer ends in {count} end-of-text tokens" if count >= 2 else ""


def _length_fault(answer: Answer) -> str:
    if answer.token_count != len(answer.tokens):
        return f"token_count is {answer.token_count}, the answer has {len(answer.tokens)} tokens"
    return ""
