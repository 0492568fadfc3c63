"""A run: from parameters to a results folder, and back from a folder to its results."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from vllm_loadgen.accuracy import baseline
from vllm_loadgen.accuracy import scores as accuracy
from vllm_loadgen.analysis import metrics as analysis
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.harness.records import read_records
from vllm_loadgen.harness.session import Session
from vllm_loadgen.inputs import data, machine, models
from vllm_loadgen.params import RunParams
from vllm_loadgen.results.folders import (
    find_file,
    make_folder,
    make_room,
    project_root,
    read_json,
    write_json,
)
from vllm_loadgen.rules import conformance
from vllm_loadgen.rules import test06 as compliance

# What decides answers and speed beside model and dataset; LoadGen's questions may differ.
SAME_IN_A_RUN = (
    "instruction", "chat_template", "max_new_tokens", "min_new_tokens", "engine", "max_model_len",
    "tensor_parallel_size", "gpu_memory_utilization", "cpu_kv_cache_gib", "cpu_reserved_cores",
    "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "kv_cache_dtype", "quantization",
    "load_format", "enable_prefix_caching", "engine_options", "seed",
)  # fmt: skip


@dataclass
class TestResult:
    """What one LoadGen test left in its folder."""

    folder: Path

    @cached_property
    def result(self) -> dict[str, Any]:
        """result.json: LoadGen's verdict, settings and figures."""
        return read_json(self.folder / "result.json")

    @cached_property
    def params(self) -> RunParams:
        """What this test was made with: the run's parameters, or its own where they differ."""
        own = self.folder / "params.yaml"
        run = next(p for p in self.folder.parents if (p / "params.yaml").is_file())
        return RunParams.from_yaml(own if own.is_file() else run / "params.yaml")

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """The machine during the test (see ``Telemetry.frame``); empty if it was too short."""
        return self._table("telemetry")

    @cached_property
    def steps(self) -> pd.DataFrame:
        """The engine's steps (see ``telemetry.steps_frame``); empty if it tells none."""
        return self._table("engine_steps")

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        return pd.read_parquet(path) if path.is_file() else pd.DataFrame()

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row a query (see README, Results)."""
        return read_records(self.folder / "records.parquet")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Throughput and latencies, computed from the records."""
        return analysis.metrics(self.records, self.result["scenario"])

    def _repr_html_(self) -> str:
        title = f"{self.result['scenario']}, {self.result['mode']}: {self.result.get('verdict')}"
        return f"<b>{title}</b>{analysis.metrics_table(self.metrics).to_html()}"

    def __repr__(self) -> str:
        title = f"{self.result['scenario']}, {self.result['mode']}: {self.result.get('verdict')}"
        return f"{title}\n{analysis.metrics_table(self.metrics).to_string()}"


@dataclass
class Run:
    """One folder under outputs: parameters, environment, and the tests that were made.

    Use ``Run.start`` for a new run or to add a test to one, ``Run.open`` to read one.
    """

    folder: Path
    params: RunParams
    model_path: Path | None = None
    tokenizer: Any = None
    samples: data.Samples | None = None
    _session: Session | None = field(default=None, repr=False)

    @classmethod
    def start(cls, params: RunParams, test: str = "") -> "Run":
        """Check everything that can be checked before a model is loaded, and make the folder.

        Args:
            test: the test that is meant to follow; a folder that has one already is refused,
                since nothing measured is ever overwritten.

        Raises:
            ParameterError: if model, dataset or folder cannot be used.
        """
        folder = make_folder(params, test)
        run = cls(folder, params)
        run.model_path = models.resolve(find_file(params.model), params.model_revision)
        run.tokenizer = models.load_tokenizer(run.model_path, params.load_format)
        found = params.changed(dataset=find_file(params.dataset))
        run.samples = data.load_samples(found, run.tokenizer)
        model = models.describe(params.model, run.model_path, params.dtype, params.model_revision)
        _check_length(params, model)
        _check_same(folder, model, run.samples.facts, params)
        (folder / "params.yaml").write_text(recorded(params).to_yaml())
        write_json(folder / "model.json", model)
        write_json(folder / "dataset.json", run.samples.facts)
        write_json(folder / "environment.json", machine.environment())
        return run

    @classmethod
    def newest(cls, outputs: str = "outputs") -> "Run":
        """The run whose parameters were written last.

        Raises:
            ParameterError: if there is none.
        """
        found = (project_root() / outputs).glob("*/params.yaml")
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise ParameterError("run", "", f"there is no run under {outputs}", "make one first")
        return cls.open(newest.parent)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """A finished run, to be read.

        Raises:
            ParameterError: if the folder holds none.
        """
        path = Path(find_file(str(folder)))
        if not (path / "params.yaml").is_file():
            cure = "give the folder of a run, as in outputs/NAME"
            raise ParameterError("run", str(folder), "holds no params.yaml", cure)
        return cls(path, RunParams.from_yaml(path / "params.yaml"))

    # Making tests ---------------------------------------------------------------------------
    def session(self) -> Session:
        """The loaded engine; loaded at the first call, and anew if it has ended."""
        if self._session is None or not self._session.alive:
            self._session = Session(self.params, self.model_path, self.folder / "engine.log")
            write_json(self.folder / "engine.json", self._session.engine)
        return self._session

    def perform(self, mode: str, name: str = "", **changes: Any) -> TestResult:
        """One LoadGen test.

        Args:
            mode: "performance", "accuracy" or "compliance" (TEST06).
            name: folder of the test, if not that of the mode.
            changes: LoadGen's parameters for this test alone, such as target_qps.

        Raises:
            EngineError: if the engine cannot be loaded or dies; what was measured is kept.
            ParameterError: if the run has this test already, or has no rate to run it at.
        """
        if self.params.target_qps == "auto" and "target_qps" not in changes:
            changes = self._without_a_rate(mode) | changes
        params = self.params.changed(**changes)
        folder = self.folder / (name or mode)
        make_room(folder)
        audit = compliance.write_audit_config(folder) if mode == "compliance" else None
        self.session().run(params, self.samples.prompts, mode, folder, audit)
        if changes:
            (folder / "params.yaml").write_text(params.to_yaml())
        test = TestResult(folder)
        self.note(name or mode, summarize(test))
        return test

    def _without_a_rate(self, mode: str) -> dict[str, Any]:
        """How to run a test that does not depend on a rate that is yet to be found."""
        if mode == "accuracy":
            return {"scenario": "Offline", "target_qps": 1.0}
        if self.finished("performance"):
            return {"target_qps": self.test("performance").params.target_qps}
        cure = "search first: explore.find_peak(run) ends with the performance test"
        raise ParameterError("target_qps", "auto", "is no rate to run a test at", cure)

    def rename(self, name: str, new_name: str) -> None:
        """Give a test another name."""
        (self.folder / name).rename(self.folder / new_name)
        summary = self.summary
        summary[new_name] = summary.pop(name, {})
        write_json(self.folder / "summary.json", summary)

    def variant(self, name: str, **changes: Any) -> "Run":
        """A run within this one, of the same model and samples under changed parameters."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        params = self.params.changed(**changes)
        model = self.model | {"dtype": params.dtype}
        (folder / "params.yaml").write_text(recorded(params).to_yaml())
        for facts, value in (
            ("model", model), ("dataset", self.dataset), ("environment", self.environment),
            ("machine", self.machine),
        ):  # fmt: skip
            write_json(folder / f"{facts}.json", value)
        return Run(folder, params, self.model_path, self.tokenizer, self.samples)

    def verify(self) -> dict[str, Any]:
        """Judge the compliance test; writes compliance.json and returns it (see compliance)."""
        folder = self.folder / "compliance"
        verdict = compliance.verify(folder, self.params.scenario, self.model["eos_token_ids"])
        write_json(folder / "compliance.json", verdict)
        self.note("compliance", {"status": verdict["status"]})
        return verdict

    def score(self) -> pd.DataFrame:
        """Score the accuracy test; writes accuracy.json and returns the scores by sample."""
        folder = self.folder / "accuracy"
        samples = accuracy.score_samples(
            folder / "mlperf_log_accuracy.json",
            self.samples.references,
            self._decode,
            len(self.samples),
            len(self.tokenizer),
        )
        totals = accuracy.totals(samples)
        official = conformance.is_official(self.params, self.model, self.dataset)
        known = baseline.load_baseline(self.baseline_key())
        verdict = accuracy.verdict(totals, self.params.benchmark, official, known)
        if not official:
            accuracy.add_intervals(verdict, samples, known)
        write_json(folder / "accuracy.json", {"score": totals, "verdict": verdict})
        samples.drop(columns="reference").to_parquet(folder / "scores.parquet", index=False)
        self.note("accuracy", {"score": totals, "status": verdict["status"]})
        return samples

    def baseline_key(self) -> dict[str, Any]:
        """What a baseline must have been made with to be compared with this run."""
        limits = self.params.max_new_tokens, self.params.min_new_tokens
        return baseline.baseline_key(self.model, self.dataset, *limits)

    def make_baseline(self) -> dict[str, Any]:
        """Let the reference engine answer this run's samples; the result is stored for all runs.

        Returns:
            The score (see ``accuracy.totals``).
        """
        made = baseline.make_baseline(
            self.model_path,
            self.samples.prompts,
            self.samples.references,
            self._decode,
            self.baseline_key(),
            self.model["eos_token_ids"],
        )
        baseline.save_baseline(made, baseline.EMBEDDED)
        return made["score"]

    def _decode(self, ids: list[list[int]]) -> list[str]:
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    def note(self, key: str, value: dict[str, Any]) -> None:
        """Add to summary.json."""
        summary = self.summary
        summary[key] = summary.get(key, {}) | value
        write_json(self.folder / "summary.json", summary)

    def close(self) -> None:
        """End the engine."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading --------------------------------------------------------------------------------
    def has(self, name: str) -> bool:
        """Whether the run holds this test, finished or not."""
        return (self.folder / name / "result.json").is_file()

    def finished(self, name: str) -> bool:
        """Whether the run holds this test from its start to its end."""
        return self.has(name) and self.test(name).result["status"] == "complete"

    def test(self, name: str) -> TestResult:
        """A test that was made."""
        return TestResult(self.folder / name)

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json."""
        return self._facts("summary")

    @property
    def model(self) -> dict[str, Any]:
        """model.json."""
        return self._facts("model")

    @property
    def dataset(self) -> dict[str, Any]:
        """dataset.json."""
        return self._facts("dataset")

    @property
    def environment(self) -> dict[str, Any]:
        """environment.json."""
        return self._facts("environment")

    @property
    def machine(self) -> dict[str, Any]:
        """machine.json: the measured limits; empty if they were not measured."""
        return self._facts("machine")

    @property
    def engine(self) -> dict[str, Any]:
        """engine.json: what the engine made of its options."""
        return self._facts("engine")

    @property
    def accuracy(self) -> dict[str, Any]:
        """accuracy.json: score and verdict; empty if there was no accuracy test."""
        return self._facts("accuracy/accuracy")

    @property
    def compliance(self) -> dict[str, Any]:
        """compliance.json: TEST06's verdict; empty if it was not run."""
        return self._facts("compliance/compliance")

    def _facts(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        return read_json(path) if path.is_file() else {}


def summarize(test: TestResult) -> dict[str, Any]:
    """A test in a few figures, for summary.json."""
    keys = ("status", "scenario", "verdict", "duration_s", "queries", "num_errors")
    return {key: test.result.get(key) for key in keys} | {"metrics": test.metrics}


def _check_same(
    folder: Path, model: dict[str, Any], dataset: dict[str, Any], params: RunParams
) -> None:
    """Refuse to mix runs: all tests of a folder are of one model, one dataset and one engine."""
    if (folder / "dataset.json").is_file():
        accuracy.check_same_dataset(read_json(folder / "dataset.json"), dataset)
    if (folder / "model.json").is_file():
        before = read_json(folder / "model.json")
        if before["sha256"] != model["sha256"] or before["dtype"] != model["dtype"]:
            _refuse_to_mix(folder, f"{before['name']} in {before['dtype']}")
    if any(folder.glob("*/result.json")):
        recorded = RunParams.from_yaml(folder / "params.yaml")
        for name in SAME_IN_A_RUN:
            if getattr(recorded, name) != getattr(params, name):
                _refuse_to_mix(folder, f"{name} = {getattr(recorded, name)!r}")


def _refuse_to_mix(folder: Path, what: str) -> None:
    problem = f"this run's tests are of {what}"
    raise ParameterError("run_name", folder.name, problem, "give another run_name")


def recorded(params: RunParams) -> RunParams:
    """The parameters without the place of the results: who repeats the run has another."""
    return params.changed(outputs=RunParams().outputs, run_name="")


def _check_length(params: RunParams, model: dict[str, Any]) -> None:
    longest = model["max_position_embeddings"]
    if longest and params.max_model_len > longest:
        raise ParameterError(
            "max_model_len",
            params.max_model_len,
            f"the model knows {longest} positions",
            f"give {longest} or less",
        )
