"""The tree that the official checker reads (v6.1), made from logs that LoadGen itself wrote."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import echo_params, write_facts

from loadgen_study import RunParams
from loadgen_study.facts.scores import Accuracy
from loadgen_study.facts.tables import read_records
from loadgen_study.rules.audit import Audited
from loadgen_study.rules.compliance import TEST06
from loadgen_study.submission import tree
from loadgen_study.submission.preflight import preflight
from vllm_loadgen import BenchmarkError, ParameterError
from vllm_loadgen.harness.session import Session

pytestmark = pytest.mark.process

SCORE = {
    "rouge1": 38.5, "rouge2": 15.75, "rougeL": 24.0, "rougeLsum": 36.0,
    "gen_len": 7400000, "gen_num": 100, "gen_tok_len": 800,
}  # fmt: skip
PROMPTS = [[index, *range(1, 8)] for index in range(100)]


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Makes the three tests of a run by an echo of 100 samples: each answer has 8 tokens."""
    log = tmp_path_factory.mktemp("echo") / "engine.log"
    with Session(echo_params(max_new_tokens=8), "", log) as session:

        def made(folder: Path, **changes: Any) -> Path:
            own = {"target_qps": 200.0, "min_duration_ms": 200, "min_query_count": 100}
            params = RunParams.from_dict(own | changes)
            write_facts(folder, params)
            for mode in ("performance", "accuracy", "compliance"):
                (folder / mode).mkdir()
                audit = (
                    TEST06.write_audit_config(folder / mode, 4) if mode == "compliance" else None
                )
                session.run(params, PROMPTS, mode, folder / mode, audit)
            audited = Audited(params.scenario, [128009], len(PROMPTS), dict)
            TEST06.verify(folder / "compliance", audited)
            accuracy = {"score": SCORE, "verdict": {"status": "PASS", "against": "x"}}
            Accuracy.model_validate(accuracy).write(folder / "accuracy" / "accuracy.json")
            return folder

        yield made


@pytest.fixture(scope="module")
def made(
    make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    return {name: make_run(base / name, scenario=name) for name in ("Server", "Offline")}


@pytest.fixture
def server(made: dict[str, Path], tmp_path: Path) -> Path:
    """A Server run that a test may damage."""
    return Path(shutil.copytree(made["Server"], tmp_path / "Server"))


def build(folders: list[Path], out: Path, **changes: Any) -> Path:
    names = {"division": "closed", "submitter": "Me", "system_name": "laptop-1"}
    return tree.build_submission(folders, out, **(names | changes))


def test_of_a_repeated_test_the_median_run_is_submitted(server: Path, tmp_path: Path) -> None:
    # The same test thrice, the first and the second slowed by as many seconds as one may see.
    for name, late_s in (("performance-2", 20), ("performance-3", 10)):
        shutil.copytree(server / "performance", server / name)
        records = read_records(server / name / "records.parquet")
        records["done_ns"] = records["done_ns"] + late_s * 10**9
        records.to_parquet(server / name / "records.parquet")
    with (server / "performance-3" / "mlperf_log_detail.txt").open("a") as log:
        log.write("\n")
    out = build([server], tmp_path / "out", division="open")
    (sent,) = out.rglob("performance/run_1/mlperf_log_detail.txt")
    assert sent.read_bytes() == (server / "performance-3" / sent.name).read_bytes()
    assert sent.read_bytes() != (server / "performance" / sent.name).read_bytes()


SCENARIO_FILES = {
    "user.conf",
    "README.md",
    "measurements.json",
    "performance/run_1/mlperf_log_summary.txt",
    "performance/run_1/mlperf_log_detail.txt",
    "accuracy/accuracy.txt",
    "accuracy/mlperf_log_accuracy.json",
    "accuracy/mlperf_log_detail.txt",
    "accuracy/mlperf_log_summary.txt",
    "TEST06/verify_accuracy.txt",
    "TEST06/accuracy/mlperf_log_accuracy.json",
}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_tree_of_a_closed_submission(made: dict[str, Path], tmp_path: Path) -> None:
    root = build([made["Server"], made["Offline"]], tmp_path)
    assert root == tmp_path / "closed" / "Me"
    found = {name for name in files(root) if not name.startswith("src/")}
    results = {
        f"results/laptop-1/llama3.1-8b/{scenario}/{name}"
        for scenario in ("Server", "Offline")
        for name in SCENARIO_FILES
    }
    assert found == results | {"systems/laptop-1.json", "documentation/calibration.md"}
    assert (root / "src" / "vllm_loadgen" / "harness" / "sut.py").is_file()
    assert (root / "src" / "loadgen_study" / "submission" / "tree.py").is_file()
    assert not [name for name in files(root) if "__pycache__" in name]


def test_an_open_submission_maps_its_model_to_the_benchmark(
    made: dict[str, Path], tmp_path: Path
) -> None:
    root = build([made["Server"]], tmp_path, division="open")
    scenario = root / "results" / "laptop-1" / "smollm2-135m-instruct" / "Server"
    assert files(scenario) == SCENARIO_FILES
    mapping = json.loads((root / "model_mapping.json").read_text())
    assert mapping == {"smollm2-135m-instruct": "llama3.1-8b"}


def test_interactive_has_a_folder_of_its_own(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", benchmark="llama3_1-8b-interactive")
    root = build([run], tmp_path / "out")
    assert files(root / "results/laptop-1/llama3.1-8b/Interactive") == SCENARIO_FILES


def test_edge_goes_under_its_own_benchmark(make_run: Callable[..., Path], tmp_path: Path) -> None:
    edge = {"benchmark": "llama3_1-8b-edge", "scenario": "SingleStream"}
    run = make_run(tmp_path / "run", target_latency_ms=5.0, **edge)
    root = build([run], tmp_path / "out")
    assert files(root / "results/laptop-1/llama3.1-8b-edge/SingleStream") == SCENARIO_FILES
    system = json.loads((root / "systems" / "laptop-1.json").read_text())
    assert system["system_type"] == "edge"


def test_accuracy_txt_is_what_the_checkers_expressions_find(server: Path, tmp_path: Path) -> None:
    scenario = build([server], tmp_path / "out") / "results/laptop-1/llama3.1-8b/Server"
    lines = (scenario / "accuracy" / "accuracy.txt").read_text().splitlines()
    expressions = {  # submission_checker, constants.py, ACC_PATTERN
        r".*'rouge1':\s+'?([\d.]+)'?.*": "38.5",
        r".*'rouge2':\s+'?([\d.]+)'?.*": "15.75",
        r".*'rougeL':\s+'?([\d.]+)'?.*": "24.0",
        r".*'rougeLsum':\s+'?([\d.]+)'?.*": "36.0",
        r".*'gen_len':\s([\d.]+).*": "7400000",
    }
    for expression, value in expressions.items():
        assert re.match(expression, lines[0])[1] == value
    log = (server / "accuracy" / "mlperf_log_accuracy.json").read_bytes()
    assert re.match(r"^hash=([\w\d]+)$", lines[1])[1] == hashlib.sha256(log).hexdigest()


def test_a_long_accuracy_log_is_cut_and_its_original_kept(server: Path, tmp_path: Path) -> None:
    original = server / "accuracy" / "mlperf_log_accuracy.json"
    log = original.read_bytes()
    assert len(log) > 10 * 1024  # 100 answers, each with 64 digits and its keys
    scenario = build([server], tmp_path / "out") / "results/laptop-1/llama3.1-8b/Server"
    submitted = (scenario / "accuracy" / "mlperf_log_accuracy.json").read_bytes()
    assert len(submitted) < 10 * 1024
    assert submitted[:4096] == log[:4096]
    assert submitted[-4096:] == log[-4096:]
    assert original.read_bytes() == log


def test_a_short_accuracy_log_is_left_whole() -> None:
    assert tree.truncated(b"x" * 10240) == b"x" * 10240


MEANINGFUL = [  # submission_checker, SYSTEM_DESC_MEANINGFUL_RESPONSE_REQUIRED_FIELDS
    "division", "submitter", "system_type", "status", "system_name", "number_of_nodes",
    "host_processor_model_name", "host_processors_per_node", "host_processor_core_count",
    "host_memory_capacity", "host_memory_configuration", "host_storage_capacity",
    "host_storage_type", "host_networking", "host_network_card_count", "host_networking_topology",
    "accelerators_per_node", "accelerator_model_name", "accelerator_memory_capacity",
    "accelerator_host_interconnect", "accelerator_memory_configuration",
    "accelerator_interconnect", "cooling", "framework", "operating_system",
    "other_software_stack",
]  # fmt: skip
REQUIRED = [  # and SYSTEM_DESC_REQUIRED_FIELDS beyond those
    *MEANINGFUL, "host_processor_frequency", "host_processor_caches",
    "host_processor_interconnect", "accelerator_frequency", "accelerator_interconnect_topology",
    "accelerator_on-chip_memories", "hw_notes", "sw_notes", "system_type_detail",
]  # fmt: skip


def test_systems_file_has_what_the_checker_asks_for(server: Path, tmp_path: Path) -> None:
    root = build([server], tmp_path / "out", system={"cooling": "air"})
    system = json.loads((root / "systems" / "laptop-1.json").read_text())
    assert set(system) == set(REQUIRED)
    assert all(system[field] for field in MEANINGFUL)
    expected = {
        "division": "closed", "submitter": "Me", "status": "available", "cooling": "air",
        "system_name": "laptop-1", "system_type": "datacenter", "accelerators_per_node": "0",
        "host_processor_core_count": "2", "framework": "vLLM 0.32.0, PyTorch 2.13.0+cpu",
    }  # fmt: skip
    assert {field: system[field] for field in expected} == expected


def test_machines_of_a_cluster_are_counted(server: Path, tmp_path: Path) -> None:
    change(server / "environment.json", gpus=[{"name": "H100", "memory_gib": 80.0}] * 8)
    recorded = server / "params.yaml"
    both = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "executor": "ray"}
    recorded.write_text(RunParams.recorded(recorded).changed(**both).to_yaml())
    root = build([server], tmp_path / "out")
    system = json.loads((root / "systems" / "laptop-1.json").read_text())
    assert (system["number_of_nodes"], system["accelerators_per_node"]) == ("2", "8")


def test_measurements_have_the_five_fields(server: Path, tmp_path: Path) -> None:
    scenario = build([server], tmp_path / "out") / "results/laptop-1/llama3.1-8b/Server"
    assert json.loads((scenario / "measurements.json").read_text()) == {
        "input_data_types": "int32",
        "retraining": "no",
        "starting_weights_filename": "model.safetensors",
        "weight_data_types": "bfloat16",
        "weight_transformations": "none",
    }


def test_a_quantized_checkpoint_is_said_to_be_one(server: Path, tmp_path: Path) -> None:
    change(server / "model.json", quantization="awq")
    root = build([server], tmp_path / "out")
    scenario = root / "results/laptop-1/llama3.1-8b/Server"
    measurements = json.loads((scenario / "measurements.json").read_text())
    assert measurements["weight_data_types"] == "awq"
    assert "checkpoint is quantized (awq)" in measurements["weight_transformations"]
    assert (
        "as the checkpoint has them (awq)"
        in (root / "documentation" / "calibration.md").read_text()
    )


def test_the_readme_is_enough_to_repeat_the_run(server: Path, tmp_path: Path) -> None:
    scenario = build([server], tmp_path / "out") / "results/laptop-1/llama3.1-8b/Server"
    text = (scenario / "README.md").read_text()
    recorded = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert RunParams.from_dict(recorded) == RunParams.from_yaml(server / "params.yaml")
    for words in ("ab12, with changes", "sha256:cc", "model.safetensors: aa"):
        assert words in text


# What is refused ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"division": "network"}, "division"),
        ({"submitter": "../me"}, "submitter"),
        ({"system_name": ""}, "system_name"),
        ({"status": "soon"}, "status"),
        ({"system": {"colour": "red"}}, "system.colour"),
    ],
)
def test_bad_names_are_refused(
    made: dict[str, Path], tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        build([made["Server"]], tmp_path, **changes)
    assert caught.value.parameter == named
    assert list(tmp_path.iterdir()) == []


def change(path: Path, **values: Any) -> None:
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8"
    )


def test_a_folder_that_mixes_runs_is_refused(server: Path, tmp_path: Path) -> None:
    change(server / "accuracy" / "result.json", scenario="Offline")
    with pytest.raises(BenchmarkError, match="mixes runs"):
        build([server], tmp_path / "out")


def test_an_interrupted_test_is_refused(server: Path, tmp_path: Path) -> None:
    change(server / "performance" / "result.json", status="interrupted")
    with pytest.raises(BenchmarkError, match=r"no complete performance test \(interrupted\)"):
        build([server], tmp_path / "out")


@pytest.mark.parametrize(
    "lost",
    ["accuracy/result.json", "accuracy/accuracy.json", "accuracy/mlperf_log_accuracy.json",
     "performance/user.conf", "performance/mlperf_log_summary.txt", "environment.json"],
)  # fmt: skip
def test_a_run_without_one_of_its_files_is_refused(server: Path, tmp_path: Path, lost: str) -> None:
    (server / lost).unlink()
    with pytest.raises(BenchmarkError, match="un"):
        build([server], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_runs_of_a_scenario_are_refused(server: Path, made: dict[str, Path]) -> None:
    with pytest.raises(BenchmarkError, match=r"are both llama3\.1-8b/Server"):
        build([server, made["Server"]], server / "out")


def test_runs_of_two_models_are_refused(server: Path, made: dict[str, Path]) -> None:
    change(server / "model.json", sha256={"model.safetensors": "ff"})
    with pytest.raises(BenchmarkError, match="different models"):
        build([server, made["Offline"]], server / "out")


def test_nothing_is_overwritten(made: dict[str, Path], tmp_path: Path) -> None:
    build([made["Server"]], tmp_path)
    with pytest.raises(BenchmarkError, match="nothing is overwritten"):
        build([made["Server"]], tmp_path)


# What the checker will say ------------------------------------------------------------------
def complaints(folders: list[Path], division: str) -> set[tuple[str, str]]:
    return {(one.path, one.check) for one in preflight(folders, division)}


def test_preflight_of_short_runs_in_the_open_division(made: dict[str, Path]) -> None:
    """The echo answers at once, so that LoadGen calls the Offline run too short as well."""
    found = {str(one) for one in preflight([made["Offline"]], "open")}
    path = "llama3.1-8b/Offline"
    assert found == {
        f"{path}: performance_sample_count_check: performance_sample_count, found 100, "
        "needs to be >= 13368",
        f"{path}: min_duration_check: Test duration less than 600s in user config. "
        "expected=600000, found=200",
        f"{path}: dataset_check: accuracy run does not cover all dataset, "
        "accuracy samples: 100, dataset size: 13368",
        f"{path}: result_validity: Performance result is not VALID, found=INVALID",
    }


def test_preflight_of_the_closed_division_asks_for_more(made: dict[str, Path]) -> None:
    found = complaints([made["Offline"]], "closed")
    path = "llama3.1-8b/Offline"
    assert found - complaints([made["Offline"]], "open") == {
        (path, "min_query_count_check"),
        (path, "accuracy_result_check"),  # rougeL 24.0 is below 24.2507
        (path, "rules"),
        ("llama3.1-8b", "scenarios_check"),
    }
    (rouge,) = [
        one.message
        for one in preflight([made["Offline"]], "closed")
        if one.check == "accuracy_result_check"
    ]
    assert rouge == "accuracy not met: rougeL expected=>= 24.2507, found=24.0"


def test_preflight_knows_which_scenarios_belong_together(made: dict[str, Path]) -> None:
    both = complaints([made["Server"], made["Offline"]], "closed")
    assert ("llama3.1-8b", "scenarios_check") not in both
    assert ("llama3.1-8b", "scenarios_check") in complaints([made["Server"]], "closed")


def test_preflight_passes_on_loadgens_errors_and_a_lost_log(server: Path) -> None:
    log = server / "performance" / "mlperf_log_detail.txt"
    error = {"key": "error_runtime", "value": "x", "metadata": {"is_error": True}}
    log.write_text(f"{log.read_text()}:::MLLOG {json.dumps(error)}\n")
    assert ("llama3.1-8b/Server", "loadgen_errors_check") in complaints([server], "open")
    (server / "performance" / "mlperf_log_detail.txt").unlink()
    assert ("llama3.1-8b/Server", "missing_check") in complaints([server], "open")


def test_preflight_wants_test06_in_the_closed_division_only(server: Path) -> None:
    verdict = server / "compliance" / "verify_accuracy.txt"
    verdict.write_text(verdict.read_text().replace("complete", "failed"))
    assert ("llama3.1-8b/Server", "accuracy_check") in complaints([server], "closed")
    verdict.unlink()
    assert ("llama3.1-8b/Server", "dir_exists_check") in complaints([server], "closed")
    assert ("llama3.1-8b/Server", "dir_exists_check") not in complaints([server], "open")


def test_preflight_of_the_closed_division_tells_what_the_checker_cannot_see(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = server / "params.yaml"
    path.write_text(path.read_text().replace("engine_options: {}", "engine_options: {x: 1}"))
    change(server / "dataset.json", tokenized_by="the file (tok_input)", instruction=None)
    monkeypatch.setattr("loadgen_study.submission.preflight.is_official", lambda *_: True)
    found = {one.message for one in preflight([server], "closed") if one.check == "rules"}
    assert "identity of the data not checked" in found
    wanted = "none but those that leave answers and rules alone"
    assert f"Engine options: x = 1; the closed division wants {wanted}" in found
    excused = {one.message for one in preflight([server], "open")}
    assert not any("Engine options" in one or "identity" in one for one in excused)


def edit_log(run: Path, key: str, value: Any) -> None:
    path = run / "performance" / "mlperf_log_detail.txt"
    found = re.compile(rf'("key": "{re.escape(key)}", "value": )[^,]*')
    text, count = found.subn(rf"\g<1>{json.dumps(value)}", path.read_text())
    assert count == 1
    path.write_text(text)


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        ("effective_qsl_rng_seed", 7, "seeds_check"),
        ("effective_sample_index_rng_seed", 7, "seeds_check"),
        ("effective_schedule_rng_seed", 7, "seeds_check"),
        ("early_stopping_met", False, "latency_check"),
        ("requested_use_token_latencies", False, "llm_check"),
        ("result_first_token_99.00_percentile_latency_ns", 2_000_000_000, "llm_check"),
        ("result_time_per_output_token_99.00_percentile_ns", 100_000_000, "llm_check"),
        ("result_validity", "INVALID", "result_validity"),
    ],
)
def test_each_check_of_the_performance_log(server: Path, key: str, value: Any, check: str) -> None:
    before = complaints([server], "open")
    edit_log(server, key, value)
    assert complaints([server], "open") - before == {("llama3.1-8b/Server", check)}


@pytest.mark.parametrize("length", [0, 3000])
def test_a_cut_accuracy_log_is_refused(server: Path, tmp_path: Path, length: int) -> None:
    log = server / "accuracy" / "mlperf_log_accuracy.json"
    log.write_bytes(log.read_bytes()[:length])
    with pytest.raises(BenchmarkError, match="not a whole, unedited LoadGen accuracy log"):
        build([server], tmp_path / "out")


def test_a_summary_of_another_test_is_refused(server: Path, tmp_path: Path) -> None:
    (server / "performance" / "mlperf_log_summary.txt").write_text("")
    with pytest.raises(BenchmarkError, match=r"mlperf_log_summary\.txt is not that of this test"):
        build([server], tmp_path / "out")


def test_a_place_that_cannot_be_written_is_one_line(server: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(ParameterError, match=r"out = .*cannot be written"):
        build([server], blocked)
