"""TEST07 and TEST09 on the logs of LoadGen itself, by an echo engine with known answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from helpers import echo_params

from loadgen_study.accuracy.log import Answer
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.rules import compliance
from loadgen_study.rules.audit import Audited, ComplianceTest
from loadgen_study.rules.compliance import TEST06
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.harness.session import Session

SAMPLES = 40
TRUTHS = [[100 + sample, 200 + sample] for sample in range(SAMPLES)]
LEAST = 60.698
# TEST07 and TEST09 as for gpt-oss-120b, on as many samples as there are here.
TEST07 = compliance.make_test07("exact_match", LEAST)
TEST09 = compliance.make_test09(least_tokens=9.0, most_tokens=11.0)


def share_right(answers: Sequence[Answer]) -> dict[str, float]:
    right = [list(one.tokens) == truth for one, truth in zip(answers, TRUTHS, strict=True)]
    return {"exact_match": 100 * sum(right) / len(right)}


def audited(scenario: str, samples: int = SAMPLES) -> Audited:
    return Audited(scenario, [2], samples, share_right)


def spoilt(wrong: int) -> list[list[int]]:
    """Prompts whose echo is the right answer, but for the first ones."""
    return [[0, *truth] if at < wrong else truth for at, truth in enumerate(TRUTHS)]


def audit_values(path: Path) -> Mapping[str, int]:
    lines = [line.split(" = ") for line in path.read_text(encoding="utf-8").splitlines()]
    return {key.removeprefix("*.*."): int(value) for key, value in lines}


def run(echo: Session, test: ComplianceTest, scenario: str, folder: Path, prompts: list) -> None:
    params = echo_params(scenario=scenario, target_qps=500.0)
    audit = test.write_audit_config(folder, len(prompts))
    echo.run(params, prompts, "compliance", folder, audit)


@pytest.mark.process
@pytest.mark.parametrize("scenario", ["Server", "Offline"])
@pytest.mark.parametrize(("wrong", "status"), [(15, "PASS"), (16, "FAIL")])
def test_test07_asks_each_row_once_and_judges_the_score(
    echo: Session, tmp_path: Path, scenario: str, wrong: int, status: str
) -> None:
    run(echo, TEST07, scenario, tmp_path, spoilt(wrong))
    found = TEST07.verify(tmp_path, audited(scenario))
    assert (found.status, found.samples) == (status, SAMPLES)
    assert f"Accuracy score: {100 * (SAMPLES - wrong) / SAMPLES}" in found.lines
    assert TEST07.recorded(tmp_path) == status
    assert (
        f"TEST {status}"
        in (tmp_path / "verify_accuracy.txt").read_text(encoding="utf-8").splitlines()
    )
    assert bool(found.failures) == (status == "FAIL")


@pytest.mark.process
@pytest.mark.parametrize("scenario", ["Server", "Offline"])
@pytest.mark.parametrize(
    ("tokens", "status"), [(8, "FAIL"), (9, "PASS"), (11, "PASS"), (12, "FAIL")]
)
def test_test09_judges_the_mean_length(
    echo: Session, tmp_path: Path, scenario: str, tokens: int, status: str
) -> None:
    # Half of the answers a token shorter, half a token longer.
    prompts = [[5] * (tokens + (1 if at % 2 else -1)) for at in range(SAMPLES)]
    run(echo, TEST09, scenario, tmp_path, prompts)
    found = TEST09.verify(tmp_path, audited(scenario))
    assert (found.status, found.samples) == (status, SAMPLES)
    assert f"Mean output tokens: {tokens:.2f}" in found.lines
    assert "Std deviation: 1.00" in found.lines
    assert TEST09.recorded(tmp_path) == status
    assert (
        f"TEST {status}"
        in (tmp_path / "verify_output_len.txt").read_text(encoding="utf-8").splitlines()
    )


@pytest.mark.process
def test_a_log_that_lacks_samples_is_refused(echo: Session, tmp_path: Path) -> None:
    run(echo, TEST09, "Server", tmp_path, TRUTHS)
    for test in (TEST07, TEST09):
        with pytest.raises(BenchmarkError, match=f"lacks 1 of {SAMPLES + 1} samples"):
            test.verify(tmp_path, audited("Server", SAMPLES + 1))
        assert test.recorded(tmp_path) is None


@pytest.mark.process
def test_a_score_without_the_metric_is_refused(echo: Session, tmp_path: Path) -> None:
    run(echo, TEST07, "Offline", tmp_path, TRUTHS)
    other = compliance.make_test07("rouge1", LEAST)
    with pytest.raises(BenchmarkError, match="TEST07 requires rouge1"):
        other.verify(tmp_path, audited("Offline"))


def test_audit_settings_are_the_official_ones(tmp_path: Path) -> None:
    """As in compliance/TESTxx/gpt-oss-120b/audit.config of mlcommons/inference b66003e."""
    common = {"mode": 2, "accuracy_log_rng_seed": 720381539243781796, "min_duration": 0,
              "sample_concatenate_permutation": 0}  # fmt: skip
    expected = {
        "TEST06": {"accuracy_log_sampling_target": 100, "min_query_count": 100},
        "TEST07": {"accuracy_log_sampling_target": 990, "min_query_count": 990,
                   "performance_issue_unique": 1},
        "TEST09": {"accuracy_log_sampling_target": 10000, "min_query_count": 6396,
                   "performance_issue_unique": 1},
    }  # fmt: skip
    samples = {"TEST06": 13_368, "TEST07": 990, "TEST09": 6_396}
    for test in (TEST06, TEST07, TEST09):
        written = test.write_audit_config(tmp_path, samples[test.name])
        assert audit_values(written) == common | expected[test.name]


def test_a_test_is_found_by_its_folder() -> None:
    benchmark = BENCHMARKS["gpt-oss-120b"]
    folders = ("TEST07", "TEST09")
    assert [compliance.of_folder(benchmark, one).name for one in folders] == [*folders]
    with pytest.raises(ParameterError, match="TEST01"):
        compliance.of_folder(benchmark, "TEST01")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_has_a_compliance_test_to_make(name: str) -> None:
    made = [test.name for test in compliance.required(BENCHMARKS[name])]
    assert made == list(BENCHMARKS[name].compliance or ["TEST06"])
