import json
import subprocess
import sys

import pytest
from helpers import RESULT, echo_params, make_records, write_articles, write_test

from loadgen_study import LiveRun, Run, share
from loadgen_study.facts.inputs import Gpu, MachineLimits
from loadgen_study.inputs.hashes import cache_folder
from loadgen_study.report.sections import configuration
from loadgen_study.runs import study
from vllm_loadgen import BenchmarkError, ParameterError, Session
from vllm_loadgen.records.result import Result

pytestmark = pytest.mark.process


@pytest.fixture
def params(tmp_path):
    """An echo run of twelve articles into an empty folder."""
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    return echo_params(dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r")


def test_a_folder_holds_all_of_a_run(params):
    with LiveRun.start(params) as run:
        test = run.perform("performance")
        run.perform("accuracy")
    run.score()
    again = Run.open(run.folder)
    own = {"outputs": "outputs", "run_name": "", "dataset": "a.jsonl"}
    assert again.params == params.changed(**own)
    # The same run again asks for the same; what "auto" meant here stands in the test and the model.
    assert again.params.dtype == "auto"
    assert again.test("performance").params.dtype == again.model.dtype != "auto"
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


def test_a_variant_in_another_type_has_its_bytes(params):
    with LiveRun.start(params.changed(dtype="bfloat16")) as run:
        other = run.variant("tune/00", dtype="float32")
    assert other.model.weight_bytes == 2 * run.model.weight_bytes
    assert (run.read().params.dtype, other.read().params.dtype) == ("bfloat16", "float32")
    assert other.model.sha256 == run.model.sha256


def test_several_tests_with_one_engine(params):
    with LiveRun.start(params) as run:
        first = run.perform("performance", "slow", target_qps=50.0)
        second = run.perform("performance", "fast", target_qps=200.0)
    for test, rate in ((first, 50), (second, 200)):
        assert test.result.effective_settings.target_qps == rate
        assert test.result.effective_settings.use_token_latencies


def test_nothing_measured_is_overwritten(params):
    with LiveRun.start(params) as run:
        run.perform("performance")
        with pytest.raises(ParameterError, match="'r': this run holds the test performance"):
            run.perform("performance")


def test_a_finished_test_is_not_made_again_and_it_is_said(params, capsys):
    with LiveRun.start(params) as run:
        first = run.once("performance")
    with LiveRun.start(params) as run:
        again = run.once("performance")
        run.once("accuracy", "accuracy")
    assert again.result == first.result
    said = f"performance: finished before, reused ({first.result.queries} queries)"
    assert said in capsys.readouterr().out
    assert set(run.read().summary.tests) == {"performance", "accuracy"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_qps": 50.0}, "target_qps = 100.0, not 50.0"),
        ({"min_query_count": 24}, "min_query_count = 48, not 24"),
        ({"ttft_limit_ms": 900}, "ttft_limit_ms = unset, not 900"),
        ({"scenario": "Offline"}, "scenario = 'Server', not 'Offline'"),
    ],
)
def test_a_test_that_was_asked_otherwise_is_refused(params, changes, words):
    with LiveRun.start(params) as run:
        run.once("performance")
    with (
        LiveRun.start(params.changed(**changes)) as run,
        pytest.raises(ParameterError) as caught,
    ):
        run.once("performance")
    assert f"run_name = 'r': its test performance was made with {words}" in str(caught.value)


def test_accuracy_does_not_hang_on_what_only_performance_asks(params, capsys):
    with LiveRun.start(params) as run:
        run.once("accuracy", "accuracy")
    with LiveRun.start(params.changed(min_query_count=96, ttft_limit_ms=900)) as run:
        run.once("accuracy", "accuracy")
    assert "accuracy: finished before, reused" in capsys.readouterr().out


def test_a_test_that_failed_is_made_again(params):
    with LiveRun.start(params) as run:
        folder = write_test(run.folder / "performance", RESULT | {"status": "failed"},
                            make_records([]))  # fmt: skip
        assert run.once("performance").result.complete
    assert folder.with_name("performance-unfinished-1").is_dir()


def test_tests_of_one_folder_are_of_one_machine(params, monkeypatch):
    with LiveRun.start(params) as run:
        run.once("performance")
    environment = run.environment
    other = {
        "cpu": environment.cpu.model_copy(update={"cores": 999}),
        "gpus": (Gpu(name="H200", memory_gib=141.0),),
        "packages": environment.packages | {"torch": "9.9"},
    }
    for field, value in other.items():
        there = environment.model_copy(update={field: value})
        monkeypatch.setattr(study, "environment", lambda _, there=there: there)
        with pytest.raises(ParameterError, match="run_name = 'r': this run's tests are of"):
            LiveRun.start(params)
    monkeypatch.setattr(study, "environment", lambda _: environment)
    LiveRun.start(params)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_new_tokens", 5), ("engine_options", {"ttft_ms": 9}), ("num_samples", 2)],
)
def test_a_test_cannot_change_what_is_loaded(params, name, value):
    run = LiveRun.start(params)
    with pytest.raises(ParameterError, match=f"{name} = .*belongs to the engine"):
        run.perform("performance", **{name: value})
    assert not (run.folder / "performance").exists()


@pytest.mark.parametrize("name", ["../escape", "../../escape", "..", "."])
def test_a_test_stays_in_its_run(params, name):
    run = LiveRun.start(params)
    with pytest.raises(ParameterError, match="leaves the run's folder"):
        run.perform("performance", name)


def test_more_warm_up_than_samples(params):
    with LiveRun.start(params.changed(warmup_queries=64)) as run:
        assert run.perform("performance").result.warmup_queries == 64


def test_what_an_interrupted_test_left_is_set_aside(params):
    with LiveRun.start(params) as run:
        write_test(run.folder / "performance", RESULT | {"status": "interrupted"}, make_records([]))
        LiveRun.start(params)
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
    # Since the start; LoadGen may take longer than a sample to make its queries.
    assert test.telemetry["time_s"].is_monotonic_increasing
    assert test.telemetry["time_s"].abs().max() < 60
    assert test.steps.empty  # the echo engine has no steps


def test_a_folder_that_cannot_be_written(params, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(ParameterError, match=r"outputs = .*cannot be written"):
        LiveRun.start(params.changed(outputs=str(blocked)))


def test_more_positions_than_the_model_has(params):
    with pytest.raises(ParameterError, match="max_model_len = 9000: the model knows 8192"):
        LiveRun.start(params.changed(max_model_len=9000))


def test_a_kv_cache_larger_than_the_memory_is_refused_before_anything_is_loaded(params):
    huge = params.changed(engine="vllm", cpu_kv_cache_gib=100_000)
    with pytest.raises(ParameterError, match=r"cpu_kv_cache_gib = 100000: this machine has .* GiB"):
        LiveRun.start(huge)


def test_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(ParameterError, match=r"run = .*holds no params.yaml"):
        Run.open(tmp_path)
    with pytest.raises(BenchmarkError, match="Run again in a new folder"):
        Result.read(tmp_path / "missing.json")


def test_no_secret_reaches_a_run(params, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sk-123456789012")
    with LiveRun.start(params) as run:
        run.perform("performance")
    for path in run.folder.rglob("*"):
        assert path.is_dir() or b"sk-123456789012" not in path.read_bytes()


def test_no_file_of_a_run_says_whose_machine_it_was(params, tmp_path, monkeypatch):
    command = f"vllm-loadgen report -p dataset {params.dataset} -p run_name r"
    monkeypatch.setenv("VLLM_LOADGEN_COMMAND", command)
    with LiveRun.start(params) as run:
        run.perform("performance")
    for path in run.folder.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
    found = run.read()
    assert found.environment.command == "vllm-loadgen report -p dataset a.jsonl -p run_name r"
    table = configuration.table(found)
    assert table.loc["dataset", "given"] == "a.jsonl"
    assert found.dataset.checksum.startswith("sha256:")  # which tells the file from another
    assert share.check(run.folder) == []


def test_a_run_is_repeated_from_home_or_asks_for_the_path(params, tmp_path, monkeypatch):
    recorded = study.recorded(params)
    with pytest.raises(ParameterError, match=r"'a.jsonl': there is no such file.*: give its path"):
        LiveRun.start(recorded.changed(outputs=params.outputs))
    # The converted model stays where it is: to convert it takes half a minute.
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_folder().parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    recorded = study.recorded(params)
    assert recorded.dataset == "~/a.jsonl"
    again = LiveRun.start(recorded.changed(outputs=params.outputs, run_name="again"))
    assert len(again.samples) == 12


def test_facts_are_json_a_stranger_can_read(params):
    run = LiveRun.start(params)
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["packages"]["mlcommons-loadgen"]
    assert environment["cpu"]["cores"] >= 1
    assert set(environment["git"]) == {"commit", "dirty", "problem"}


def test_tests_of_one_folder_are_of_one_dataset(params, tmp_path):
    LiveRun.start(params)
    other = write_articles(tmp_path / "b.jsonl", 12, article="Other {i}.", highlights="y")
    with pytest.raises(BenchmarkError, match="The dataset differs from the run's: checksum"):
        LiveRun.start(params.changed(dataset=str(other)))


def test_tests_of_one_folder_are_of_one_engine(params):
    with LiveRun.start(params) as run:
        run.perform("accuracy")
    with pytest.raises(ParameterError, match="run_name = 'r': this run's tests are of max_new_tok"):
        LiveRun.start(params.changed(max_new_tokens=16))
    LiveRun.start(params.changed(target_qps=50.0))  # another question is no mixture


@pytest.mark.parametrize("scenario", ["Server", "Offline"])
def test_compliance_is_one_more_test(params, scenario):
    with LiveRun.start(params.changed(scenario=scenario)) as run:
        (verdict,) = run.comply()
        test = run.read().test("compliance")
        after = run.perform("performance")
    assert verdict.status == "PASS"
    assert verdict.samples == 100
    assert (run.folder / "compliance" / "verify_accuracy.txt").is_file()
    assert test.result.effective_settings.accuracy_log_sampling_target == 100
    # The audit's settings end with it.
    assert after.result.effective_settings.accuracy_log_sampling_target == 0


HOLD = """
import sys
from pathlib import Path
from loadgen_study.runs.folders import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_write_one_run(params):
    run = LiveRun.start(params)
    command = [sys.executable, "-c", HOLD, str(run.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BenchmarkError, match="Another process is writing the run r"):
            LiveRun.start(params)
        other.stdin.close()
        assert other.wait(60) == 0
    LiveRun.start(params)  # and afterwards it is free


def test_a_mode_that_is_not_known(params):
    with pytest.raises(ParameterError, match="mode = 'speed': is not known"):
        LiveRun.start(params).perform("speed")


def test_token_ids_of_another_model_are_refused_before_loading(params, tmp_path):
    dataset = tmp_path / "far.json"
    dataset.write_text(json.dumps([{"tok_input": [50_000, 2, 3], "output": "x"}]))
    with pytest.raises(ParameterError, match="holds the token id 50000"):
        LiveRun.start(params.changed(dataset=str(dataset)))


def test_only_a_test_that_is_there_gets_another_name(params):
    with pytest.raises(ParameterError, match="name = 'a': is not a test of this run"):
        LiveRun.start(params).rename("a", "b")


def test_limits_are_measured_once_a_run_in_its_own_type(params, monkeypatch, capsys):
    asked = []

    def measure(dtypes):
        asked.append(list(dtypes))
        return MachineLimits(device="cpu", memory_bandwidth_gb_s=9.0, asked_for=tuple(dtypes))

    monkeypatch.setattr(study.machine, "measure_limits", measure)
    with LiveRun.start(params.changed(dtype="float16")) as run:
        assert run.measure_limits() == run.measure_limits()
        test = run.once("performance")
    assert asked == [["float16"]]
    assert "The machine's limits: measured before, reused" in capsys.readouterr().out
    assert test.machine == run.read().machine


def test_limits_are_measured_for_weights_that_become_fp8(params, monkeypatch):
    asked = []
    monkeypatch.setattr(
        study.machine, "measure_limits",
        lambda dtypes: asked.extend(dtypes) or MachineLimits(device="cpu", memory_bandwidth_gb_s=9),
    )  # fmt: skip
    LiveRun.start(params.changed(quantization="fp8")).measure_limits()
    assert asked == ["fp8"]


@pytest.mark.process
@pytest.mark.parametrize("rate", [5.0, "auto"])
def test_an_accuracy_test_asks_for_all_at_once(params, rate):
    with LiveRun.start(params.changed(target_qps=rate)) as run:
        test = run.perform("accuracy")
    assert test.result.scenario == "Server"
    assert test.params.rate == study.ACCURACY_QPS
    assert test.records["scheduled_ns"].max() < 1e9  # 16 queries at 5 a second take 3 s


def test_tests_of_a_run_and_its_variants_are_made_by_the_system_under_test_it_is_given(params):
    made = []

    class Noted(Session):
        def run(self, params, *args, **more):
            made.append(params.scenario)
            super().run(params, *args, **more)

    with LiveRun.start(params, sut=Noted) as run:
        run.perform("performance")
        run.close()
        with run.variant("other", scenario="Offline") as variant:
            variant.perform("performance")
    assert made == ["Server", "Offline"]
