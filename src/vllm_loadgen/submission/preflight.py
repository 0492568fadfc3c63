"""What MLCommons' submission checker would say of some runs, told before anything is submitted.

Rules and words are those of tools/submission/submission_checker (v6.1) in mlcommons/inference.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_loadgen.accuracy.scores import verdict
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness import loadgen
from vllm_loadgen.params import RunParams
from vllm_loadgen.rules.conformance import SEEDS, is_official

# What the tree calls a benchmark, and a scenario that LoadGen calls Server.
BENCHMARK_FOLDERS = {
    "llama3_1-8b": "llama3.1-8b",
    "llama3_1-8b-interactive": "llama3.1-8b",
    "llama3_1-8b-edge": "llama3.1-8b-edge",
}
# constants.py: required-scenarios; a datacenter submission also needs one of the other two.
REQUIRED_SCENARIOS = {"llama3.1-8b": {"Offline"}, "llama3.1-8b-edge": {"SingleStream", "Offline"}}
KNOWN_SCENARIOS = {
    "llama3.1-8b": {"Offline", "Server", "Interactive"},
    "llama3.1-8b-edge": {"SingleStream", "Offline"},
}
LOGS = ("mlperf_log_summary.txt", "mlperf_log_detail.txt")


@dataclass(frozen=True)
class SubmittedRun:
    """A run's folder, read as one scenario of a submission."""

    folder: Path
    params: RunParams
    model: dict[str, Any]
    dataset: dict[str, Any]

    @property
    def benchmark(self) -> str:
        """The benchmark's folder in the tree."""
        return BENCHMARK_FOLDERS[self.params.benchmark]

    @property
    def scenario(self) -> str:
        """The scenario's folder in the tree."""
        interactive = self.params.benchmark == "llama3_1-8b-interactive"
        return "Interactive" if interactive else self.params.scenario

    @property
    def path(self) -> str:
        """Both, as complaints name them."""
        return f"{self.benchmark}/{self.scenario}"

    def facts(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the run, or None if there is none.

        Raises:
            BenchmarkError: if it is damaged.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise BenchmarkError(f"{path} is damaged: {error}. Run again.") from None


@dataclass(frozen=True)
class Complaint:
    """One thing that the checker refuses: its check's name, where, and its words."""

    path: str
    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.check}: {self.message}"


def read_run(folder: Path) -> SubmittedRun:
    """A run's folder.

    Raises:
        BenchmarkError: if a file is missing, or its tests are not all of this run.
    """
    params = RunParams.from_yaml(folder / "params.yaml")
    run = SubmittedRun(folder, params, {}, {})
    model, dataset = run.facts("model.json"), run.facts("dataset.json")
    if model is None or dataset is None:
        raise BenchmarkError(f"{folder} has no model.json or dataset.json. Run again.")
    run = SubmittedRun(folder, params, model, dataset)
    for test in ("performance", "accuracy", "compliance"):
        result = run.facts(f"{test}/result.json")
        for key in ("benchmark", "scenario"):
            if result and result[key] != getattr(params, key):
                raise BenchmarkError(
                    f"{folder} mixes runs: its {test} test has {key} = {result[key]!r}, its "
                    f"params.yaml {getattr(params, key)!r}. Give each run a folder of its own."
                )
    return run


def preflight(folders: Sequence[Path], division: str) -> list[Complaint]:
    """All complaints about these runs, as one submission; empty if there are none.

    Args:
        folders: of runs, one a scenario.
        division: "closed" or "open"; open is excused from accuracy limits and TEST06.

    Raises:
        BenchmarkError: if a folder is not of one whole run.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    complaints = [text for run in runs for text in _run_complaints(run, division)]
    if division == "closed":
        complaints += _scenario_complaints(runs)
    return complaints


def log_values(folder: Path) -> dict[str, Any]:
    """The values of mlperf_log_detail.txt, the first of each key; empty without a log.

    Raises:
        BenchmarkError: if the log is damaged.
    """
    path = folder / "mlperf_log_detail.txt"
    values: dict[str, Any] = {}
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        if line.startswith(":::MLLOG"):
            try:
                entry = json.loads(line.removeprefix(":::MLLOG"))
            except ValueError as error:
                raise BenchmarkError(f"{path} is damaged: {error}. Run again.") from None
            values.setdefault(entry["key"], entry["value"])
    return values


def _scenario_complaints(runs: Sequence[SubmittedRun]) -> list[Complaint]:
    complaints = []
    for benchmark in sorted({run.benchmark for run in runs}):
        found = {run.scenario for run in runs if run.benchmark == benchmark}
        missing = sorted(REQUIRED_SCENARIOS[benchmark] - found)
        if benchmark == "llama3.1-8b" and not found & {"Server", "Interactive"}:
            missing.append("(one of) Interactive or Server")
        unknown = sorted(found - KNOWN_SCENARIOS[benchmark])
        if missing:
            text = f"does not have all required scenarios, missing {missing}"
            complaints.append(Complaint(benchmark, "scenarios_check", text))
        if unknown:
            text = f"has all unknown scenarios for this benchmark {unknown}"
            complaints.append(Complaint(benchmark, "scenarios_check", text))
    return complaints


def _run_complaints(run: SubmittedRun, division: str) -> list[Complaint]:
    found = _performance_complaints(run, division) + _accuracy_complaints(run, division)
    if division == "closed":
        if not is_official(run.params, run.model, run.dataset):
            text = "the closed division wants the official model, dataset and prompt"
            found.append(("rules", text))
        if run.benchmark == "llama3.1-8b":
            found += _compliance_complaints(run)
    return [Complaint(run.path, check, message) for check, message in found]


Found = list[tuple[str, str]]


def _performance_complaints(run: SubmittedRun, division: str) -> Found:
    log = log_values(run.folder / "performance")
    if "result_validity" not in log:
        return [("missing_check", "Performance log missing or without its end")]
    official = loadgen.official_settings(run.params)
    found = _error_complaints(run, "performance")
    samples = official.performance_sample_count_override
    count = log["effective_performance_sample_count"]
    if count < samples:
        text = f"performance_sample_count, found {count}, needs to be >= {samples}"
        found.append(("performance_sample_count_check", text))
    for seed in SEEDS:
        expected, actual = getattr(official, seed), log[f"effective_{seed}"]
        if actual != expected:
            text = f"{seed} is wrong, expected={expected}, found={actual}"
            found.append(("seeds_check", text))
    if run.params.scenario != "Offline" and not log.get("early_stopping_met"):
        found.append(("latency_check", "Early stopping condition was not met"))
    in_query = log["effective_samples_per_query"]
    if run.params.scenario == "Offline" and division == "closed" and in_query < samples:
        text = "Required minimum samples per query not met by user config"
        found.append(("min_query_count_check", f"{text}, Expected={samples}, Found={in_query}"))
    duration, needed = log["effective_min_duration_ms"], official.min_duration_ms
    if duration < needed:
        text = "Test duration less than 600s in user config."
        found.append(("min_duration_check", f"{text} expected={needed}, found={duration}"))
    found += _token_latency_complaints(run, log, official)
    if log["result_validity"] != "VALID":
        text = f"Performance result is not VALID, found={log['result_validity']}"
        found.append(("result_validity", text))
    return found


def _token_latency_complaints(run: SubmittedRun, log: dict[str, Any], official: Any) -> Found:
    if not log.get("requested_use_token_latencies"):
        return [("llm_check", "use_token_latencies flag needs to be enabled")]
    if run.params.scenario != "Server":
        return []
    ttft = log["result_first_token_99.00_percentile_latency_ns"]
    tpot = log["result_time_per_output_token_99.00_percentile_ns"]
    if ttft < official.ttft_latency and tpot < official.tpot_latency:
        return []
    text = (
        "Failed extra check for TTFT and TPOT. "
        f"Obtained: TTFT 99-tile: {ttft:.4f}, TPOT 99-tile: {tpot:.4f}. "
        f"Required: TTFT 99-tile: {official.ttft_latency:.4f}, "
        f"TPOT 99-tile: {official.tpot_latency:.4f}"
    )
    return [("llm_check", text)]


def _error_complaints(run: SubmittedRun, test: str) -> Found:
    result = run.facts(f"{test}/result.json") or {}
    if not result.get("num_errors"):
        return []
    text = f"has loadgen errors, number of errors: {result['num_errors']}"
    return [("loadgen_errors_check", text)]


def _accuracy_complaints(run: SubmittedRun, division: str) -> Found:
    log = log_values(run.folder / "accuracy")
    scored = run.facts("accuracy/accuracy.json")
    if "qsl_reported_total_count" not in log or scored is None:
        return [("missing_check", "Accuracy log or accuracy.txt missing")]
    found = _error_complaints(run, "accuracy")
    expected = loadgen.official_settings(run.params).performance_sample_count_override
    count = log.get("effective_accuracy_sample_count", log["qsl_reported_total_count"])
    if count != expected:
        text = "accuracy run does not cover all dataset"
        sizes = f"accuracy samples: {count}, dataset size: {expected}"
        found.append(("dataset_check", f"{text}, {sizes}"))
    if division == "closed":
        for row in verdict(scored["score"], run.params.benchmark, True, None)["comparisons"]:
            if not row["met"] and row["metric"] != "gen_num":
                limits = f"expected={row['required']}, found={row['actual']}"
                text = f"accuracy not met: {row['metric']} {limits}"
                found.append(("accuracy_result_check", text))
    return found


def _compliance_complaints(run: SubmittedRun) -> Found:
    path = run.folder / "compliance" / "verify_accuracy.txt"
    if not path.is_file():
        return [("dir_exists_check", "Missing TEST06 in compliance dir")]
    if "TEST06 verification complete" not in path.read_text():
        return [("accuracy_check", "TEST06 accuracy check failed")]
    return []
