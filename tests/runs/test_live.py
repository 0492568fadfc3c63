import json

import pytest
from helpers import RESULT, echo_params, make_records, write_articles, write_test

from vllm_loadgen import BenchmarkError, LiveRun, ParameterError, Run
from vllm_loadgen.facts.results import Result

pytestmark = pytest.mark.process


@pytest.fixture
def params(tmp_path):
    """An echo run of twelve articles into an empty folder."""
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    return echo_params(dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r")


def test_a_folder_holds_all_of_a_run(params):
    with LiveRun.start(params, "performance") as run:
        test = run.perform("performance")
        run.perform("accuracy")
    run.score()
    again = Run.open(run.folder)
    assert again.params == params.changed(outputs="outputs", run_name="")
    assert again.test("performance").metrics == test.metrics
    summary = again.summary.tests
    assert summary["performance"].verdict == test.result.verdict
    assert (summary["accuracy"].status, summary["accuracy"].verdict) == ("complete", "NO BASELINE")
    assert again.accuracy.verdict.status == "NO BASELINE"
    for facts in (again.model, again.dataset, again.environment, again.engine):
        assert facts
    names = {path.name for path in (run.folder / "performance").iterdir()}
    assert {
        "user.conf",
        "mlperf_log_summary.txt",
        "mlperf_log_detail.txt",
        "records.parquet",
    } <= names
    assert "VALID" in repr(test)
    assert "<table" in test._repr_html_()


def test_several_tests_with_one_engine(params):
    with LiveRun.start(params) as run:
        first = run.perform("performance", "slow", target_qps=50.0)
        second = run.perform("performance", "fast", target_qps=200.0)
    for test, rate in ((first, 50), (second, 200)):
        assert test.result.effective_settings.target_qps == rate
        assert test.result.effective_settings.use_token_latencies


def test_nothing_measured_is_overwritten(params):
    with LiveRun.start(params, "performance") as run:
        run.perform("performance")
        with pytest.raises(ParameterError, match="'r': this run holds the test performance"):
            run.perform("performance")
    with pytest.raises(ParameterError, match="run_name = 'r': this run holds the test performance"):
        LiveRun.start(params, "performance")


def test_what_an_interrupted_test_left_is_set_aside(params):
    with LiveRun.start(params, "performance") as run:
        write_test(run.folder / "performance", RESULT | {"status": "interrupted"}, make_records([]))
        LiveRun.start(params, "performance")
        run.perform("performance")
    left = run.folder / "performance-unfinished-1" / "result.json"
    assert Result.read(left).status == "interrupted"
    assert run.read().finished("performance")


def test_a_test_knows_its_own_parameters(params):
    with LiveRun.start(params) as run:
        own = run.perform("performance", "own", target_qps=77.0)
        plain = run.perform("performance", "plain")
    assert (own.params.target_qps, plain.params.target_qps) == (77.0, 100.0)
    assert own.params.scenario == "Server"


def test_telemetry_and_steps_are_kept(params):
    with LiveRun.start(params.changed(min_duration_ms=3000)) as run:
        test = run.perform("performance")
    assert {"time_s", "cpu_share", "own_cpu_share", "own_memory_gib"} <= set(test.telemetry)
    assert test.telemetry["own_memory_gib"].min() > 0
    assert test.telemetry["time_s"].between(0, 20).all()
    assert test.steps.empty  # the echo engine has no steps


def test_a_folder_that_cannot_be_written(params, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(ParameterError, match=r"outputs = .*cannot be written"):
        LiveRun.start(params.changed(outputs=str(blocked)))


def test_more_positions_than_the_model_has(params):
    with pytest.raises(ParameterError, match="max_model_len = 9000: the model knows 8192"):
        LiveRun.start(params.changed(max_model_len=9000))


def test_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(ParameterError, match=r"run = .*holds no params.yaml"):
        Run.open(tmp_path)
    with pytest.raises(BenchmarkError, match="Run again"):
        Result.read(tmp_path / "missing.json")


def test_no_secret_reaches_a_run(params, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sk-123456789012")
    with LiveRun.start(params) as run:
        run.perform("performance")
    for path in run.folder.rglob("*"):
        assert path.is_dir() or b"sk-123456789012" not in path.read_bytes()


def test_facts_are_json_a_stranger_can_read(params):
    run = LiveRun.start(params)
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["packages"]["mlcommons-loadgen"]
    assert environment["cpu"]["cores"] >= 1
    assert set(environment["git"]) == {"commit", "dirty"}


def test_tests_of_one_folder_are_of_one_dataset(params, tmp_path):
    LiveRun.start(params)
    other = write_articles(tmp_path / "b.jsonl", 12, article="Other {i}.", highlights="y")
    with pytest.raises(BenchmarkError, match="The dataset differs from the run's: checksum"):
        LiveRun.start(params.changed(dataset=str(other)))


def test_tests_of_one_folder_are_of_one_engine(params):
    with LiveRun.start(params) as run:
        run.perform("accuracy")
    with pytest.raises(ParameterError, match="run_name = 'r': this run's tests are of max_new_tok"):
        LiveRun.start(params.changed(max_new_tokens=16), "performance")
    LiveRun.start(params.changed(target_qps=50.0), "performance")  # another question is no mixture


@pytest.mark.parametrize("scenario", ["Server", "Offline"])
def test_compliance_is_one_more_test(params, scenario):
    with LiveRun.start(params.changed(scenario=scenario)) as run:
        test = run.perform("compliance")
        after = run.perform("performance")
    verdict = run.verify()
    assert verdict.status == "PASS"
    assert verdict.samples == 100
    assert (run.folder / "compliance" / "verify_accuracy.txt").is_file()
    assert test.result.effective_settings.accuracy_log_sampling_target == 100
    # The audit's settings end with it.
    assert after.result.effective_settings.accuracy_log_sampling_target == 0
