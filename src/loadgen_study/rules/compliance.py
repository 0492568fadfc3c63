"""The compliance tests of MLCommons' LLM benchmarks, and which of them a run makes.

TEST06 asks whether the engine reports the tokens that it made, TEST07 whether the answers of a
performance run are as good as an accuracy run's, TEST09 whether they are as long as the
reference's. Sources: mlcommons/inference, compliance/TESTxx (audit.config, run_verification.py).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from loadgen_study.accuracy.log import Answer, one_per_sample
from loadgen_study.benchmarks.record import Benchmark
from loadgen_study.facts.scores import Compliance
from loadgen_study.rules.audit import Audited, ComplianceTest
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.traits import SCENARIOS

# The last lines of the scripts, for a pass and for a failure.
TEST06_LINES = ("TEST06 verification complete", "TEST06 verification failed")
OTHER_LINES = ("TEST PASS", "TEST FAIL")
MOST_LOGGED = 10_000  # of TEST09's audit.config


def required(benchmark: Benchmark) -> tuple[ComplianceTest, ...]:
    """The tests that a benchmark requires; TEST06 where it requires none."""
    made = tuple(MAKERS[name](**limits) for name, limits in benchmark.compliance.items())
    return made or (TEST06,)


def of_folder(benchmark: Benchmark, folder: str) -> ComplianceTest:
    """The test of a benchmark by its folder in a run.

    Raises:
        ParameterError: if the benchmark requires no test of this folder.
    """
    known = {test.folder: test for test in required(benchmark)}
    if folder not in known:
        cure = f"give one of {', '.join(known)}"
        problem = f"is not the folder of a compliance test of {benchmark.name}"
        raise ParameterError("name", folder, problem, cure)
    return known[folder]


def _verdict(
    samples: int, lines: Sequence[str], failures: Sequence[str], last_lines: tuple[str, str]
) -> Compliance:
    return Compliance(
        status="FAIL" if failures else "PASS",
        samples=samples,
        lines=(*lines, last_lines[1 if failures else 0]),
        failures=tuple(failures),
    )


def _headed(title: str) -> list[str]:
    """A title between two rules, as the official scripts print it."""
    rule = "=" * 80
    return [rule, title, rule]


# TEST06: 100 queries, all logged ------------------------------------------------------------
def _judge_tokens(answers: Sequence[Answer], _: Path, audited: Audited) -> Compliance:
    """Check each logged answer.

    The official script takes one id that ends an answer, and by default compares it as text.
    """
    ends = set(audited.eos_token_ids)
    checks: dict[str, list[str] | None] = {
        # In Offline no first token is reported apart from the answer.
        "First token": None
        if SCENARIOS[audited.scenario].at_once
        else _all(answers, _first_token_fault),
        "EOS": _all(answers, lambda answer: _end_fault(answer, ends)),
        "Sample length": _all(answers, _length_fault),
    }
    lines = [
        f"{name} check pass: {'Skipped' if faults is None else not faults}"
        for name, faults in checks.items()
    ]
    failures = [fault for faults in checks.values() for fault in faults or []]
    return _verdict(len(answers), lines, failures, TEST06_LINES)


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


TEST06 = ComplianceTest(
    name="TEST06",
    settings=lambda _: {"accuracy_log_sampling_target": 100, "min_query_count": 100},
    verdict_file="verify_accuracy.txt",
    passed=TEST06_LINES[0],
    judge=_judge_tokens,
    folder="compliance",
)


# TEST07 and TEST09: each row once, all answers logged ---------------------------------------
def _each_once(samples: int) -> dict[str, int]:
    return {
        "accuracy_log_sampling_target": samples,
        "min_query_count": samples,
        "performance_issue_unique": 1,
    }


def make_test07(metric: str, least: float) -> ComplianceTest:
    """TEST07 of a benchmark, on a data set of its own.

    Args:
        metric: of the benchmark's scorer. least: of that metric.
    """

    def judge(answers: Sequence[Answer], log: Path, audited: Audited) -> Compliance:
        ordered = one_per_sample(answers, audited.samples, log)
        score = audited.score(ordered).get(metric)
        if score is None:
            cure = "Run it on the benchmark's own data"
            raise BenchmarkError(f"TEST07 requires {metric}, which no answer in {log} has. {cure}.")
        passed = score >= least
        lines = [
            *_headed("TEST07 Verification Summary"),
            f"Accuracy score: {score}",
            f"Accuracy threshold: {least}",
            f"Accuracy check pass: {passed}",
        ]
        failures = [] if passed else [f"{metric} is {score}, below {least}"]
        return _verdict(len(ordered), lines, failures, OTHER_LINES)

    return ComplianceTest(
        "TEST07", _each_once, "verify_accuracy.txt", OTHER_LINES[0], judge, "TEST07", logs_all=True
    )


def make_test09(least_tokens: float, most_tokens: float) -> ComplianceTest:
    """TEST09 of a benchmark, on the performance data.

    Args:
        least_tokens, most_tokens: of the mean answer.
    """

    def settings(samples: int) -> dict[str, int]:
        return _each_once(samples) | {"accuracy_log_sampling_target": max(MOST_LOGGED, samples)}

    def judge(answers: Sequence[Answer], log: Path, audited: Audited) -> Compliance:
        one_per_sample(answers, audited.samples, log)
        tokens = np.array([len(answer.tokens) for answer in answers])
        mean = float(tokens.mean())
        above, below = mean >= least_tokens, mean <= most_tokens
        lines = [
            *_headed("TEST09: Verify Output Token Length in Performance Mode"),
            f"Total samples: {len(tokens)}",
            f"Mean output tokens: {mean:.2f}",
            f"Min output tokens: {tokens.min()}",
            f"Max output tokens: {tokens.max()}",
            f"Std deviation: {tokens.std():.2f}",
            *_headed("Verification Results"),
            f"Mean output tokens: {mean:.2f}",
            f"Min threshold: {least_tokens}",
            f"Max threshold: {most_tokens}",
            f"Min check pass: {above}",
            f"Max check pass: {below}",
        ]
        problem = f"{mean:.2f} tokens on average, outside {least_tokens} to {most_tokens}"
        failures = [] if above and below else [f"answers have {problem}"]
        return _verdict(len(tokens), lines, failures, OTHER_LINES)

    return ComplianceTest(
        "TEST09", settings, "verify_output_len.txt", OTHER_LINES[0], judge, "TEST09", logs_all=True
    )


# By name, from the limits in a benchmark's record.
MAKERS: Mapping[str, Callable[..., ComplianceTest]] = {
    "TEST06": lambda: TEST06,
    "TEST07": make_test07,
    "TEST09": make_test09,
}
