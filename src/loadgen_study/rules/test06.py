"""Compliance test TEST06: does the engine report the tokens that it made?

A performance run of 100 queries whose answers LoadGen logs, by an audit.config. Source of the
rule: mlcommons/inference, compliance/TEST06/run_verification.py.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from loadgen_study.accuracy.log import ACCURACY_LOG, Answer, read_accuracy_log
from loadgen_study.facts.scores import Compliance, ComplianceStatus
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness.log import DETAIL
from vllm_loadgen.traits import SCENARIOS, Scenario

# The values of compliance/TEST06/audit.config in mlcommons/inference (mode 2: performance).
AUDIT_SETTINGS = {
    "mode": 2,
    "accuracy_log_rng_seed": 720381539243781796,
    "accuracy_log_sampling_target": 100,
    "min_query_count": 100,
    "min_duration": 0,
    "sample_concatenate_permutation": 0,
}
AUDIT_CONFIG = "".join(f"*.*.{key} = {value}\n" for key, value in AUDIT_SETTINGS.items())
AUDIT_FOUND = "Found Audit Config file"
VERDICT_FILE = "verify_accuracy.txt"
PASSED = "TEST06 verification complete"


def write_audit_config(folder: Path) -> Path:
    """Write TEST06's audit.config into the test's folder; its path is for ``run_test``.

    LoadGen also reads any audit.config of the working directory if it is given no other path,
    and then turns every test into this one: never let it lie there.
    """
    path = folder / "audit.config"
    path.write_text(AUDIT_CONFIG, encoding="utf-8")
    return path


def recorded(folder: Path) -> ComplianceStatus | None:
    """What ``verify`` wrote of the test in this folder, read as the checker reads it."""
    path = folder / VERDICT_FILE
    if not path.is_file():
        return None
    return "PASS" if PASSED in path.read_text(encoding="utf-8") else "FAIL"


def verify(folder: Path, scenario: Scenario, eos_token_ids: Sequence[int]) -> Compliance:
    """Judge the logs of a TEST06 run and write verify_accuracy.txt next to them.

    Args:
        folder: with mlperf_log_accuracy.json and mlperf_log_detail.txt.
        eos_token_ids: all ids that end an answer (Llama 3.1 has three); the official script
            takes one, and by default compares it as text.

    Raises:
        BenchmarkError: if the logs are damaged or not of a TEST06 run.
    """
    _check_audit(folder)
    answers = read_accuracy_log(folder / ACCURACY_LOG)
    checks: dict[str, list[str] | None] = {
        # In Offline no first token is reported apart from the answer.
        "First token": None if SCENARIOS[scenario].at_once else _all(answers, _first_token_fault),
        "EOS": _all(answers, lambda answer: _end_fault(answer, set(eos_token_ids))),
        "Sample length": _all(answers, _length_fault),
    }
    passed = not any(checks.values())
    lines = [
        f"{name} check pass: {'Skipped' if faults is None else not faults}"
        for name, faults in checks.items()
    ]
    lines.append(PASSED if passed else "TEST06 verification failed")
    (folder / VERDICT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Compliance(
        status="PASS" if passed else "FAIL",
        samples=len(answers),
        lines=tuple(lines),
        failures=tuple(fault for faults in checks.values() for fault in faults or []),
    )


def _check_audit(folder: Path) -> None:
    path = folder / DETAIL
    try:
        found = AUDIT_FOUND in path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read ({error.strerror}). Run TEST06.") from None
    if not found:
        raise BenchmarkError(f"{path} is of a run without audit.config. Run TEST06.")


def _all(answers: Sequence[Answer], fault: Callable[[Answer], str]) -> list[str]:
    """A line for each answer in which ``fault`` finds something."""
    found = ((answer.seq_id, fault(answer)) for answer in answers)
    return [f"query {seq_id}: {text}" for seq_id, text in found if text]


def _first_token_fault(answer: Answer) -> str:
    """The official script passes an answer without a first token; here it fails."""
    first = answer.first_tokens or []
    if not first:
        return "no first token was reported"
    if first != answer.tokens[: len(first)]:
        return f"the first token was reported as {first}, the answer begins {answer.tokens[:1]}"
    return ""


def _end_fault(answer: Answer, ends: set[int]) -> str:
    """At most one end of text at the end; the first token does not count (an empty answer)."""
    count = 0
    for token in reversed(answer.tokens[1:]):
        if token not in ends:
            break
        count += 1
    return f"the answer ends in {count} end-of-text tokens" if count >= 2 else ""


def _length_fault(answer: Answer) -> str:
    if answer.token_count != len(answer.tokens):
        return f"token_count is {answer.token_count}, the answer has {len(answer.tokens)} tokens"
    return ""
