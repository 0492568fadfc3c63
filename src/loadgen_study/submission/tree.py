"""A folder in MLCommons' submission layout (v6.1), made from runs."""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import vllm_loadgen
from loadgen_study.accuracy.log import ACCURACY_LOG, one_per_sample, read_accuracy_log
from loadgen_study.facts.scores import Score
from loadgen_study.params import NOT_KNOWN
from loadgen_study.results.run import Run
from loadgen_study.rules import compliance
from loadgen_study.rules.conformance import is_official
from loadgen_study.scorers.scorer import Scorer
from loadgen_study.submission.preflight import LOGS, place, read_run, scenario
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.files import write_json, write_text
from vllm_loadgen.harness.log import SUMMARY

# submission_checker, constants.py: a longer accuracy log must be cut; truncate_accuracy_log.py
# keeps so many characters of each end.
MAX_ACCURACY_LOG_BYTES = 10 * 1024
KEPT_CHARS = 4096
DIVISIONS, STATUSES = ("closed", "open"), ("available", "preview", "rdi")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Fields of the systems file that only a submitter knows, and gives as ``system``. The checker wants
# "N/A" rather than nothing.
UNKNOWN_FIELDS = (
    "host_storage_capacity", "host_storage_type", "host_processor_frequency",
    "host_processor_caches", "host_memory_configuration", "host_processor_interconnect",
    "host_networking", "host_networking_topology", "host_network_card_count",
    "accelerator_frequency", "accelerator_host_interconnect", "accelerator_interconnect",
    "accelerator_interconnect_topology", "accelerator_memory_configuration",
    "accelerator_on-chip_memories", "cooling", "hw_notes", "sw_notes", "system_type_detail",
)  # fmt: skip

# The code that made a submission goes with it.
PACKAGES = (Path(vllm_loadgen.__file__).parent, Path(__file__).parent.parent)
SERVED = f"{NOT_KNOWN}: a server answered"


def build_submission(
    folders: Sequence[Path],
    out: Path,
    division: str,
    submitter: str,
    system_name: str,
    status: str = "available",
    system: Mapping[str, str] | None = None,
) -> Path:
    """Write ``out/DIVISION/SUBMITTER`` from runs, one a scenario; the runs are left as they are.

    ``preflight`` lists what the checker refuses; this refuses only what cannot be written.

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
    for run in runs:
        _check_tests(run)
    root = Path(out) / division / submitter
    names = {"division": division, "submitter": submitter, "status": status}
    description = _describe_system(runs, names | {"system_name": system_name}, system or {})
    if root.exists():
        raise BenchmarkError(f"{root} exists, and nothing is overwritten. Give another folder.")
    try:
        root.mkdir(parents=True)
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise ParameterError("out", str(out), problem, "give a new folder") from None
    mapping: dict[str, str] = {}
    for run in runs:
        benchmark = suite = run.params.rules.suite.folder
        if division == "open" and not is_official(run):  # another model has its own name
            benchmark = Path(run.model.name).name
        if benchmark != suite:
            mapping[benchmark] = suite
        _write_scenario(run, root / "results" / system_name / benchmark / scenario(run))
    for name in ("systems", "documentation"):
        (root / name).mkdir()
    write_json(root / "systems" / f"{system_name}.json", description)
    if mapping:
        write_json(root / "model_mapping.json", mapping)
    compiled = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(package, root / "src" / package.name, ignore=compiled)
    write_text(root / "documentation" / "calibration.md", _calibration(runs[0]))
    return root


# Refusals -----------------------------------------------------------------------------------
def _check_names(division: str, submitter: str, system_name: str, status: str) -> None:
    known = {"division": (division, DIVISIONS), "status": (status, STATUSES)}
    for name, (value, values) in known.items():
        if value not in values:
            raise ParameterError(name, value, "is unknown", f"give {' or '.join(values)}")
    for name, value in {"submitter": submitter, "system_name": system_name}.items():
        if not PLAIN_NAME.fullmatch(value):
            problem = "does not do as a folder's name"
            raise ParameterError(name, value, problem, "use letters, digits, and . _ - between")


def _check_together(runs: Sequence[Run]) -> None:
    if not runs:
        raise BenchmarkError("A submission needs at least one run.")
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(place(run), run)
        if other is not run:
            raise BenchmarkError(
                f"{other.folder} and {run.folder} are both {place(run)}. Give one run a scenario."
            )
        if run.model.weights_sha256 != runs[0].model.weights_sha256:
            raise BenchmarkError(
                f"{runs[0].folder} and {run.folder} have different models. Submit them apart."
            )


def _check_tests(run: Run) -> None:
    for test in (run.performance_name, "accuracy"):
        if not run.finished(test):
            found = run.test(test).result.status if run.has(test) else "none"
            raise BenchmarkError(
                f"{run.folder} has no complete {test} test ({found}). Run it into this folder."
            )
        names = [*LOGS, ACCURACY_LOG] if test == "accuracy" else [*LOGS, "user.conf"]
        for name in names:
            if not (run.folder / test / name).is_file():
                raise BenchmarkError(f"{run.folder / test} lacks {name}. Run the test again.")
    if run.accuracy is None:
        raise BenchmarkError(f"{run.folder} has no accuracy.json. Score its accuracy test first.")
    log = run.folder / "accuracy" / ACCURACY_LOG
    one_per_sample(read_accuracy_log(log), run.scored_data.samples, log)
    summary = run.folder / run.performance_name / SUMMARY
    verdict = run.test(run.performance_name).result.verdict
    if f"Result is : {verdict}" not in summary.read_text(encoding="utf-8", errors="replace"):
        raise BenchmarkError(f"{summary} is not that of this test, {verdict}. Run the test again.")


# A scenario's folder ------------------------------------------------------------------------
def _write_scenario(run: Run, folder: Path) -> None:
    performance, accuracy = folder / "performance" / "run_1", folder / "accuracy"
    for target in (performance, accuracy):
        target.mkdir(parents=True)
    for name in LOGS:
        shutil.copy(run.folder / run.performance_name / name, performance)
        shutil.copy(run.folder / "accuracy" / name, accuracy)
    shutil.copy(run.folder / run.performance_name / "user.conf", folder)
    write_text(folder / "README.md", _readme(run))
    write_json(folder / "measurements.json", _measurements(run))
    if run.accuracy is not None:  # it is: _check_tests
        log = (run.folder / "accuracy" / ACCURACY_LOG).read_bytes()
        text = accuracy_text(run.task.scorer, run.accuracy.score, hashlib.sha256(log).hexdigest())
        (accuracy / ACCURACY_LOG).write_bytes(truncated(log))
        write_text(accuracy / "accuracy.txt", text)
    for test in compliance.required(run.params.rules):
        made, target = run.folder / test.folder, folder / test.name / "accuracy"
        if (made / test.verdict_file).is_file():
            target.mkdir(parents=True)
            shutil.copy(made / test.verdict_file, target.parent)
            log = (made / ACCURACY_LOG).read_bytes()
            if test.logs_all:
                write_text(target / "accuracy.txt", f"hash={hashlib.sha256(log).hexdigest()}\n")
                log = truncated(log)
            (target / ACCURACY_LOG).write_bytes(log)


def accuracy_text(scorer: Scorer, score: Score, sha256: str) -> str:
    """accuracy.txt: the reference's dict in one line, then the hash of the whole accuracy log.

    The checker reads both by regular expression.
    """
    return f"{scorer.printed(score)}\nhash={sha256}\n"


def truncated(log: bytes) -> bytes:
    """The accuracy log's beginning and end, if it is over what may be submitted."""
    if len(log) <= MAX_ACCURACY_LOG_BYTES:
        return log
    return log[:KEPT_CHARS] + b"\n\n...\n\n" + log[-KEPT_CHARS:]


def _measurements(run: Run) -> dict[str, str]:
    params = run.params
    stored = run.model.quantization
    transformations = f"quantization to {params.quantization}" if params.quantization else "none"
    if stored:
        transformations = f"none; the checkpoint is quantized ({stored})"
    if params.load_format == "dummy":
        transformations = "random weights, for timing only"
    weights = {
        "starting_weights_filename": ", ".join(run.model.weights_sha256) or "none",
        "weight_data_types": params.quantization or stored or run.model.dtype or NOT_KNOWN,
        "weight_transformations": transformations,
    }
    if not params.engine_traits.started_here:
        weights = dict.fromkeys(weights, SERVED)
    return {"input_data_types": "int32", "retraining": "no", **weights}


def _readme(run: Run) -> str:
    files = "\n".join(f"- {name}: {sha}" for name, sha in sorted(run.model.sha256.items()))
    git = run.environment.git
    changed = ", with changes" if git.dirty else ""
    return (
        f"# {run.model.name}, {place(run)}\n\n"
        "To repeat this run, check out vllm-loadgen at commit "
        f"{git.commit or 'unknown'}{changed}, save the parameters below as params.yaml and "
        "call `make report PARAMS=params.yaml`.\n\n"
        f"Dataset: {run.dataset.name}, {run.dataset.samples} samples, "
        f"{run.dataset.checksum}\n\nModel files (SHA-256):\n\n{files}\n\n"
        f"Parameters:\n\n```yaml\n{run.params.to_yaml()}```\n"
    )


def _calibration(run: Run) -> str:
    used, stored = run.params.quantization, run.model.quantization
    text = f"Weights are quantized to {used} by vLLM." if used else "Weights are not quantized."
    if stored:
        text = f"Weights are quantized as the checkpoint has them ({stored})."
    text = f"{text} KV cache: {run.params.kv_cache_dtype}. No calibration data is used."
    if not run.params.engine_traits.started_here:
        text = f"Weights and KV cache: {SERVED}."
    return f"# Calibration\n\n{text}\n"


# The system's description -------------------------------------------------------------------
def _describe_system(
    runs: Sequence[Run], names: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    environment = runs[0].environment
    cpu, gpus, packages = environment.cpu, environment.gpus, environment.packages
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    types = sorted({run.params.rules.suite.system_type for run in runs})
    known = {**names, "system_type": ",".join(types), "framework": _framework(runs[0])}
    machine = {
        # Only the first machine is recorded; the others are taken to be the same.
        "number_of_nodes": str(-(-runs[0].devices // max(1, len(gpus)))),
        "host_processor_model_name": cpu.model,
        "host_processors_per_node": "1",
        "host_processor_core_count": str(cpu.cores),
        "host_memory_capacity": f"{cpu.memory_gib:g} GiB",
        "accelerators_per_node": str(len(gpus)),  # text: the checker takes the number 0 for empty
        "accelerator_model_name": gpus[0].name if gpus else "N/A",
        "accelerator_memory_capacity": f"{gpus[0].memory_gib:g} GiB" if gpus else "N/A",
        "operating_system": environment.os,
        "other_software_stack": versions or "N/A",
    }
    if not runs[0].params.engine_traits.started_here:  # environment.json is of the client
        machine = dict.fromkeys(machine, SERVED)
    description = dict.fromkeys(UNKNOWN_FIELDS, "N/A") | known | machine
    for field, value in given.items():
        if field not in description:
            cure = f"give some of {', '.join(UNKNOWN_FIELDS)}"
            raise ParameterError(f"system.{field}", value, "is not a field of a systems file", cure)
    return description | dict(given)


def _framework(run: Run) -> str:
    traits = run.params.engine_traits
    if not traits.runs_model:
        return f"none: the {run.params.engine} engine answered, no model was run"
    if not traits.started_here:
        return SERVED
    packages = run.environment.packages
    titles = {**dict.fromkeys(traits.packages, traits.title), "torch": "PyTorch"}
    parts = [f"{title} {packages[name]}" for name, title in titles.items() if name in packages]
    return ", ".join(parts) or "N/A"
