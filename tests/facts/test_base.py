import json
import math

import pytest
from helpers import MODEL, make_metrics

from loadgen_study.facts.inputs import MachineLimits, Model
from loadgen_study.facts.results import Summary, TestSummary
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_json
from vllm_loadgen.records.result import Result


def test_what_is_written_is_read_back(tmp_path):
    model = Model(**MODEL)
    model.write(tmp_path / "model.json")
    assert Model.read(tmp_path / "model.json") == model
    assert json.loads((tmp_path / "model.json").read_text())["schema_version"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


def test_nan_is_null_in_a_file_and_nan_again(tmp_path):
    summary = Summary().noted("performance", TestSummary(metrics=make_metrics(samples=3)))
    summary.write(tmp_path / "summary.json")
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["performance"]["metrics"]["ttft_ms"]["mean"] is None
    read = Summary.read(tmp_path / "summary.json").tests["performance"].metrics
    assert math.isnan(read.ttft_ms.mean)
    assert read.samples == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_writer_never_writes_what_json_has_not(tmp_path, value):
    write_json(tmp_path / "x.json", {"deep": [value, {"er": value}]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"deep": [None, {"er": None}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "status: Field required"),
        ('{"status": "complete", "scenario": 5}', "scenario"),
        ('{"status": "complete", "scenario": "x", "schema_version": 99}', "newer than this"),
    ],
)
def test_damaged_facts_are_one_line(tmp_path, text, words):
    path = tmp_path / "result.json"
    path.write_text(text)
    message = r"result\.json cannot be read: .*Run again in a new folder"
    with pytest.raises(BenchmarkError, match=message) as caught:
        Result.read(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_or_none(tmp_path):
    with pytest.raises(BenchmarkError, match="No such file"):
        MachineLimits.read(tmp_path / "machine.json")
    assert MachineLimits.read_if_there(tmp_path / "machine.json") is None


def test_files_of_the_first_version_have_no_version_and_are_read(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(
        '{"accuracy": {"status": "complete", "verdict": "FAIL"}, "compliance": {"verdict": "PASS"}}'
    )
    tests = Summary.read(path).tests
    assert (tests["accuracy"].status, tests["accuracy"].verdict) == ("complete", "FAIL")
    assert (tests["compliance"].status, tests["compliance"].verdict) == (None, "PASS")


def test_what_is_known_of_a_test_adds_up():
    summary = Summary().noted("accuracy", TestSummary(status="complete", queries=4))
    summary = summary.noted("accuracy", TestSummary(verdict="PASS"))
    found = summary.renamed("accuracy", "old").tests
    assert list(found) == ["old"]
    assert (found["old"].status, found["old"].queries, found["old"].verdict) == (
        "complete", 4, "PASS",
    )  # fmt: skip
