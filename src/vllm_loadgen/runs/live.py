"""A run that measures: from parameters to a results folder, one test after another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from vllm_loadgen.accuracy import baseline, scores
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.facts.inputs import Dataset, Model
from vllm_loadgen.facts.results import Mode, TestSummary
from vllm_loadgen.facts.scores import Accuracy, Compliance, Score
from vllm_loadgen.files import write_frame, write_text
from vllm_loadgen.harness.session import Session
from vllm_loadgen.inputs import data, models
from vllm_loadgen.inputs.environment import environment
from vllm_loadgen.params import RunParams
from vllm_loadgen.results.folders import find_file
from vllm_loadgen.results.run import Run
from vllm_loadgen.results.test import Test
from vllm_loadgen.rules import test06
from vllm_loadgen.rules.conformance import is_official
from vllm_loadgen.runs.folders import make_folder, make_room

# What decides answers and speed beside model and dataset; LoadGen's questions may differ.
SAME_IN_A_RUN = (
    "instruction", "chat_template", "max_new_tokens", "min_new_tokens", "engine", "max_model_len",
    "tensor_parallel_size", "gpu_memory_utilization", "cpu_kv_cache_gib", "cpu_reserved_cores",
    "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "kv_cache_dtype", "quantization",
    "load_format", "enable_prefix_caching", "engine_options", "seed",
)  # fmt: skip


@dataclass
class LiveRun:
    """A folder under outputs that is being filled. Use it as a context manager: the engine, loaded
    at the first test, ends with it.

    Attributes:
        folder: where the results go; ``read`` gives what is there.
        model: model.json. samples: what LoadGen draws from.
    """

    folder: Path
    params: RunParams
    model: Model
    model_path: Path
    tokenizer: Any
    samples: data.Samples
    _session: Session | None = field(default=None, repr=False)

    @classmethod
    def start(cls, params: RunParams, test: str = "") -> "LiveRun":
        """A new run, or one more test of one that is there; everything but the engine is loaded.

        Args:
            test: the test that is meant to follow; a folder that has one already is refused,
                since nothing measured is ever overwritten.

        Raises:
            ParameterError: if model, dataset or folder cannot be used.
        """
        folder = make_folder(params, test)
        path = models.resolve(find_file(params.model), params.model_revision)
        params = params.changed(dtype=models.resolve_dtype(params.dtype, path))
        tokenizer = models.load_tokenizer(path, params.load_format)
        found = params.changed(dataset=find_file(params.dataset))
        samples = data.load_samples(found, tokenizer)
        model = models.describe(params.model, path, params.dtype, params.model_revision)
        _check_length(params, model)
        _check_same(folder, model, samples.facts, params)
        write_text(folder / "params.yaml", recorded(params).to_yaml())
        model.write(folder / "model.json")
        samples.facts.write(folder / "dataset.json")
        environment().write(folder / "environment.json")
        return cls(folder, params, model, path, tokenizer, samples)

    def read(self) -> Run:
        """The run as it lies there now."""
        return Run.open(self.folder)

    # Making tests -------------------------------------------------------------------------------
    def session(self) -> Session:
        """The loaded engine; loaded at the first call, and anew if it has ended."""
        if self._session is None or not self._session.alive:
            self._session = Session(self.params, self.model_path, self.folder / "engine.log")
            self._session.engine.write(self.folder / "engine.json")
        return self._session

    def perform(self, mode: Mode, name: str = "", **changes: object) -> Test:
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
        audit = test06.write_audit_config(folder) if mode == "compliance" else None
        self.session().run(params, self.samples.prompts, mode, folder, audit)
        if changes:
            write_text(folder / "params.yaml", params.to_yaml())
        test = Test.open(folder)
        self._note(name or mode, test.summary())
        return test

    def once(self, name: str, mode: Mode = "performance", **changes: object) -> Test:
        """``perform``, unless the run has finished a test of this name before."""
        found = self.read()
        return found.test(name) if found.finished(name) else self.perform(mode, name, **changes)

    def _without_a_rate(self, mode: Mode) -> dict[str, object]:
        """How to run a test that does not depend on a rate that is yet to be found."""
        if mode == "accuracy":
            return {"scenario": "Offline", "target_qps": 1.0}
        found = self.read()
        if found.finished("performance"):
            return {"target_qps": found.test("performance").params.rate}
        cure = "search first: find_peak(run) ends with the performance test"
        raise ParameterError("target_qps", "auto", "is no rate to run a test at", cure)

    def rename(self, name: str, new_name: str) -> None:
        """Give a test another name."""
        (self.folder / name).rename(self.folder / new_name)
        self.read().summary.renamed(name, new_name).write(self.folder / "summary.json")

    def variant(self, name: str, **changes: object) -> "LiveRun":
        """A run within this one, of the same model and samples under changed parameters."""
        folder, found = self.folder / name, self.read()
        folder.mkdir(parents=True, exist_ok=True)
        params = self.params.changed(**changes)
        params = params.changed(dtype=models.resolve_dtype(params.dtype, self.model_path))
        model = self.model.model_copy(update={"dtype": params.dtype})
        write_text(folder / "params.yaml", recorded(params).to_yaml())
        model.write(folder / "model.json")
        found.dataset.write(folder / "dataset.json")
        found.environment.write(folder / "environment.json")
        if found.machine is not None:
            found.machine.write(folder / "machine.json")
        return LiveRun(folder, params, model, self.model_path, self.tokenizer, self.samples)

    # Judging them -------------------------------------------------------------------------------
    def verify(self) -> Compliance:
        """Judge the compliance test; writes compliance.json."""
        folder = self.folder / "compliance"
        verdict = test06.verify(folder, self.params.scenario, self.model.eos_token_ids)
        verdict.write(folder / "compliance.json")
        self._note("compliance", TestSummary(verdict=verdict.status))
        return verdict

    def score(self) -> pd.DataFrame:
        """Score the accuracy test; writes accuracy.json and returns the scores by sample."""
        folder = self.folder / "accuracy"
        samples = scores.score_samples(
            folder / "mlperf_log_accuracy.json",
            self.samples.references,
            self._decode,
            len(self.samples),
            len(self.tokenizer),
        )
        score = scores.totals(samples)
        if is_official(self.params, self.model, self.samples.facts):
            verdict = scores.official_verdict(score, self.params.rules)
        else:
            known = baseline.load_baseline(self._baseline_key())
            verdict = scores.baseline_verdict(score, known, samples)
        Accuracy(score=score, verdict=verdict).write(folder / "accuracy.json")
        write_frame(folder / "scores.parquet", samples.drop(columns="reference"))
        self._note("accuracy", TestSummary(score=score, verdict=verdict.status))
        return samples

    def make_baseline(self) -> Score:
        """Let the reference engine answer this run's samples; the result is stored for all runs."""
        made = baseline.make_baseline(
            self.model_path,
            self.samples.prompts,
            self.samples.references,
            self._decode,
            self._baseline_key(),
            self.model.eos_token_ids,
        )
        baseline.save_baseline(made, baseline.EMBEDDED)
        return made.score

    def _baseline_key(self) -> baseline.BaselineKey:
        limits = self.params.max_new_tokens, self.params.min_new_tokens
        return baseline.baseline_key(self.model, self.samples.facts, *limits)

    def _decode(self, ids: list[list[int]]) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts

    def _note(self, name: str, test: TestSummary) -> None:
        self.read().summary.noted(name, test).write(self.folder / "summary.json")

    # Its end ------------------------------------------------------------------------------------
    def close(self) -> None:
        """End the engine."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def recorded(params: RunParams) -> RunParams:
    """The parameters without the place of the results: who repeats the run has another."""
    return params.changed(outputs=RunParams().outputs, run_name="")


def _check_same(folder: Path, model: Model, dataset: Dataset, params: RunParams) -> None:
    """Refuse to mix runs: all tests of a folder are of one model, one dataset and one engine."""
    if known := Dataset.read_if_there(folder / "dataset.json"):
        scores.check_same_dataset(known, dataset)
    before = Model.read_if_there(folder / "model.json")
    if before and (before.sha256, before.dtype) != (model.sha256, model.dtype):
        _refuse_to_mix(folder, f"{before.name} in {before.dtype}")
    if any(folder.glob("*/result.json")):
        known_params = RunParams.from_yaml(folder / "params.yaml")
        for name in SAME_IN_A_RUN:
            if getattr(known_params, name) != getattr(params, name):
                _refuse_to_mix(folder, f"{name} = {getattr(known_params, name)!r}")


def _refuse_to_mix(folder: Path, what: str) -> NoReturn:
    problem = f"this run's tests are of {what}"
    raise ParameterError("run_name", folder.name, problem, "give another run_name")


def _check_length(params: RunParams, model: Model) -> None:
    longest = model.max_position_embeddings
    if longest and params.max_model_len > longest:
        raise ParameterError(
            "max_model_len",
            params.max_model_len,
            f"the model knows {longest} positions",
            f"give {longest} or less",
        )
