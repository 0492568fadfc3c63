"""TEST06 on logs written by hand, and on those of LoadGen itself."""

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
from helpers import PROMPTS, echo_params

from loadgen_study.facts.scores import Compliance
from loadgen_study.rules.audit import Audited
from loadgen_study.rules.compliance import TEST06
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness.session import Session

LLAMA_ENDS = [128001, 128008, 128009]


def ids(*tokens: int) -> str:
    return array("i", tokens).tobytes().hex().upper()


def entry(answer: list[int], first: list[int] | None = None, **changes: Any) -> dict[str, Any]:
    one = {"seq_id": 0, "qsl_idx": 3, "data": ids(*answer), "token_count": len(answer)}
    if first is not None:
        one["token_data"] = ids(*first)
    return one | changes


def write(folder: Path, entries: list[dict[str, Any]], detail: str = "") -> Path:
    (folder / "mlperf_log_accuracy.json").write_text(json.dumps(entries))
    found = "Found Audit Config file (audit.config). Overriding TestSettings"
    (folder / "mlperf_log_detail.txt").write_text(detail or found)
    return folder


def verify(folder: Path, scenario: Any) -> Compliance:
    return TEST06.verify(folder, Audited(scenario, LLAMA_ENDS, len(PROMPTS), dict))


PASSED = """\
First token check pass: True
EOS check pass: True
Sample length check pass: True
TEST06 verification complete
"""


@pytest.mark.parametrize(
    "good",
    [
        entry([5, 6, 7], [5]),
        entry([5, 6, 128009], [5]),
        entry([128009], [128009]),
        entry([128009, 128009], [128009]),  # an empty answer with its end: the script allows it
        entry([5, 128009, 6, 128009], [5]),
    ],
)
def test_good_answers_pass_in_the_scripts_words(tmp_path: Path, good: dict[str, Any]) -> None:
    found = verify(write(tmp_path, [good]), "Server")
    assert (found.status, found.failures) == ("PASS", ())
    assert (tmp_path / "verify_accuracy.txt").read_text() == PASSED


@pytest.mark.parametrize(
    ("bad", "line", "failure"),
    [
        (entry([5, 6], [4]), "First token check pass: False", "reported as [4]"),
        (entry([5, 6], [5, 7]), "First token check pass: False", "reported as [5, 7]"),
        (entry([5, 6]), "First token check pass: False", "no first token"),
        (entry([5, 128009, 128009], [5]), "EOS check pass: False", "2 end-of-text"),
        (entry([5, 128001, 128009], [5]), "EOS check pass: False", "2 end-of-text"),
        (entry([128009] * 3, [128009]), "EOS check pass: False", "2 end-of-text"),
        (entry([5, 6], [5], token_count=3), "Sample length check pass: False", "is 3"),
        (entry([5, 6], [5], token_count=0), "Sample length check pass: False", "is 0"),
    ],
)
def test_a_bad_answer_fails_its_check_alone(
    tmp_path: Path, bad: dict[str, Any], line: str, failure: str
) -> None:
    good = entry([5, 6, 128009], [5])
    found = verify(write(tmp_path, [good, bad | {"seq_id": 1}]), "Server")
    assert found.status == "FAIL"
    assert line in found.lines
    assert sum("False" in text for text in found.lines) == 1
    assert found.lines[-1] == "TEST06 verification failed"
    assert len(found.failures) == 1
    assert found.failures[0].startswith("query 1: ")
    assert failure in found.failures[0]


def test_offline_has_no_first_tokens_to_check(tmp_path: Path) -> None:
    found = verify(write(tmp_path, [entry([5, 6])]), "Offline")
    assert found.lines[0] == "First token check pass: Skipped"
    assert found.status == "PASS"


def test_logs_of_another_run_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, [entry([5, 6], [5])], detail="Starting performance mode")
    with pytest.raises(BenchmarkError, match=r"without audit\.config"):
        verify(folder, "Server")
    with pytest.raises(BenchmarkError, match="cannot be read"):
        verify(tmp_path / "nowhere", "Server")


@pytest.mark.process
@pytest.mark.parametrize("scenario", ["Server", "Offline"])
def test_loadgens_own_logs_pass(echo: Session, tmp_path: Path, scenario: str) -> None:
    params = echo_params(scenario=scenario, target_qps=500.0)
    audit = TEST06.write_audit_config(tmp_path, len(PROMPTS))
    echo.run(params, PROMPTS, "compliance", tmp_path, audit)
    found = verify(tmp_path, scenario)
    assert (found.status, found.samples) == ("PASS", 100)
    assert TEST06.recorded(tmp_path) == "PASS"


def test_what_was_not_verified_has_no_verdict(tmp_path: Path) -> None:
    assert TEST06.recorded(tmp_path) is None
