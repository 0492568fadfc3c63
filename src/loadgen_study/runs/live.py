"""A run that measures: from parameters to a results folder, one test after another."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, get_args

import pandas as pd

from loadgen_study.accuracy import baseline, fidelity, scores
from loadgen_study.accuracy.log import ACCURACY_LOG
from loadgen_study.analysis.roofline import multiplied_in
from loadgen_study.facts.inputs import Dataset, Environment, MachineLimits, Model
from loadgen_study.facts.results import TestSummary
from loadgen_study.facts.scores import Accuracy, Compliance, Forced, Score
from loadgen_study.inputs import data, machine, models
from loadgen_study.inputs.devices import check_devices
from loadgen_study.inputs.environment import environment
from loadgen_study.params import RunParams
from loadgen_study.results.folders import find_file, portable, portable_path
from loadgen_study.results.identity import difference, identity, machine_identity
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules import test06
from loadgen_study.rules.conformance import is_official
from loadgen_study.runs import resume, workers
from loadgen_study.runs.folders import make_folder, make_room, unpack, writing
from vllm_loadgen import progress
from vllm_loadgen.errors import EngineError, ParameterError
from vllm_loadgen.files import write_frame, write_text
from vllm_loadgen.harness import handover
from vllm_loadgen.harness.session import Session
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.result import Mode
from vllm_loadgen.redact import scrub

# An accuracy test in Server asks for all at once: it is judged by answers, and the engine sets the
# pace.
ACCURACY_QPS = 1000.0


@dataclass
class LiveRun:
    """A folder under outputs that is being filled. Use it as a context manager: the engine, loaded
    at the first test, ends with it. Between the notebooks of ``vllm-loadgen report`` it stays
    loaded (harness/handover.py).

    Attributes:
        folder: where the results go; ``read`` gives what is there.
        model: model.json. samples: what LoadGen draws from. environment: environment.json.
    """

    folder: Path
    params: RunParams
    model: Model
    model_path: Path
    tokenizer: Any
    samples: data.Samples
    environment: Environment
    _is_the_jobs: bool = field(default=False, repr=False)  # no variant
    _session: Session | None = field(default=None, repr=False)

    @classmethod
    def start(cls, params: RunParams) -> "LiveRun":
        """A new run, or one that is there and goes on; everything but the engine is loaded.

        Raises:
            ParameterError: if model, dataset or folder cannot be used, or the folder's tests are of
                another model, dataset, engine or machine.
        """
        workers.check(params)
        folder = make_folder(params)
        weights = params.engine != "openai"
        path = models.resolve(find_file(params.model), params.model_revision, weights)
        dtype = models.resolve_dtype(params.dtype, path)
        if weights:
            params = params.changed(dtype=dtype)
        tokenizer = models.prompt_tokenizer(path, params.load_format, params.trust_remote_code)
        found = params.changed(dataset=find_file(params.dataset))
        samples = data.load_samples(found, tokenizer)
        model = models.describe(
            params.model, path, dtype, params.model_revision, params.trust_remote_code
        )
        model = model if weights else model.served()
        _check_length(params, model)
        data.check_ids(samples, model.vocab_size, params.dataset)
        facts = samples.facts
        if text := scores.unscorable_text(facts.unscorable_references, facts.samples):
            print(text)
        here = environment(params.devices)
        check_devices(params, here)
        with writing(folder):
            _check_same(folder, model, samples.facts, params, here)
            write_text(folder / "params.yaml", recorded(params).to_yaml())
            model.write(folder / "model.json")
            samples.facts.write(folder / "dataset.json")
            here.write(folder / "environment.json")
        return cls(folder, params, model, path, tokenizer, samples, here, _is_the_jobs=True)

    def read(self) -> Run:
        """The run as it lies there now."""
        return Run.open(self.folder)

    def _repr_html_(self) -> str:
        return self.read()._repr_html_()

    def measure_limits(self) -> MachineLimits:
        """What the machine can do at most in this run's types; writes machine.json.

        Measured once a run: a folder holds one machine, and what was compared with stays.

        Raises:
            BenchmarkError: if it cannot be measured.
        """
        # Which device will be known by the measurement.
        wanted = {
            multiplied_in(self.model, self.params.quantization, device)
            for device in ("cpu", "cuda")
        } & set(machine.TYPES)
        known = self.read().machine
        if known is not None and wanted <= {*known.asked_for, *known.matrix_tflop_s}:
            print("The machine's limits: measured before, reused")
            return known
        handover.quiet()
        with progress.ticking("Measuring memory bandwidth and matrix rate"):
            limits = machine.measure_limits(sorted(wanted))
        with writing(self.folder):
            limits.write(self.folder / "machine.json")
        return limits

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
        if mode not in get_args(Mode):
            raise ParameterError("mode", mode, "is not known", f"give one of {get_args(Mode)}")
        params = self.asked(mode, changes)
        folder = self.folder / (name or mode)
        # A baseline that is damaged is told before the test.
        reference = self._reference() if mode == "accuracy" else None
        if self.folder.resolve() not in folder.resolve().parents:
            raise ParameterError("name", name, "leaves the run's folder", "give a plain name")
        with writing(self.folder):
            make_room(folder)
            # Before the test, so that an interrupted one has them too.
            write_text(folder / "params.yaml", recorded(params).to_yaml())
            self.environment.write(folder / "environment.json")
            if (limits := self.read().machine) is not None:
                limits.write(folder / "machine.json")
            audit = test06.write_audit_config(folder) if mode == "compliance" else None
            if answered := self._answered_before(folder, params) if mode == "accuracy" else {}:
                self._resume(folder, params, answered)
            else:
                self.session().run(params, self.samples.prompts, mode, folder, audit)
            test = Test.open(folder)
            self._note(name or mode, test.summary())
            self._force(folder, reference)
        return test

    def _reference(self) -> tuple[baseline.Answers, str] | None:
        """The reference engine's answers to this run's samples with their SHA-256, if stored."""
        known = baseline.load_baseline(self._baseline_key())
        answers = baseline.load_answers(known) if known else None
        return (answers, known.answers_sha256) if known and answers else None

    def _force(self, folder: Path, known: tuple[baseline.Answers, str] | None) -> None:
        """Ask the loaded engine what it thinks of the reference's answers; writes forced.json.

        Whatever comes of it, the accuracy test is whole; an engine that dies is loaded anew.

        Args:
            known: of ``_reference``; without it nothing is asked.
        """
        if known is None:
            return
        (reference, sha256), begin = known, time.monotonic()
        answers = [
            # vLLM takes no prompt that leaves no room for a token.
            answer[: max(0, self.params.max_model_len - len(prompt) - 1)]
            for prompt, answer in zip(self.samples.prompts, reference.tokens, strict=True)
        ]
        try:
            limit_s = self.params.stall_timeout_s
            most_s = fidelity.FORCED_MAX_S
            told = self.session().score(self.samples.prompts, answers, limit_s, most_s)
            problem = told.problem
        except EngineError as error:
            problem = f"the engine died of it: {str(error).splitlines()[0]}"
        if problem:
            asked = Forced(problem=portable(scrub(problem)))
        else:
            took_s = time.monotonic() - begin
            asked = fidelity.forced(told.answers, reference, sha256, took_s)
        asked.write(folder / fidelity.FORCED)

    def _answered_before(self, folder: Path, params: RunParams) -> dict[int, list[int]]:
        """What unfinished tests of this name have answered, if they were asked as this one is."""
        return resume.answered_before(folder, lambda test: not self._differs(test, params))

    def _resume(self, folder: Path, params: RunParams, answered: dict[int, list[int]]) -> None:
        """The rest of an accuracy test that was interrupted."""
        left = resume.left_over(answered, len(self.samples))
        done = len(self.samples) - len(left)
        print(f"{folder.name}: {done:,} of {len(self.samples):,} samples were answered before")
        prompts = Prompts.of(self.samples.prompts[number] for number in left)
        self.session().run(params, prompts, "accuracy", folder, numbers=left, resumed_samples=done)

    def once(self, name: str, mode: Mode = "performance", **changes: object) -> Test:
        """``perform``, unless the run has finished this test before; one that failed is made again.

        Raises:
            ParameterError: if the test that is there was made in another way: nothing is
                overwritten, and what differs is not mixed.
        """
        test = self.made_before(name, mode, changes)
        if test is None:
            return self.perform(mode, name, **changes)
        # It may have been interrupted between the test and what comes after it.
        if mode == "accuracy" and not (test.folder / fidelity.FORCED).exists():
            with writing(self.folder):
                self._force(test.folder, self._reference())
        return test

    def made_before(self, name: str, mode: Mode, changes: dict[str, object]) -> Test | None:
        """The test, if the run has finished it before; announced.

        Raises:
            ParameterError: if it was made in another way.
        """
        found = self.read()
        if not found.finished(name):
            return None
        test = found.test(name)
        self.check_same(name, test, self.asked(mode, changes))
        print(f"{name}: finished before, reused ({test.result.queries:,} queries)")
        return test

    def adopt(self, name: str, packed: bytes, log: bytes) -> None:
        """Take in a test that a worker made in a folder of its own.

        Args:
            packed: of ``folders.pack``: the test's folder, and engine.json if there is one.
            log: what the engine printed meanwhile.
        """
        folder = self.folder / name
        with writing(self.folder), TemporaryDirectory(".part", dir=self.folder) as part:
            unpack(packed, Path(part))
            for path in Path(part).glob("engine.json"):
                path.replace(self.folder / path.name)
            with (self.folder / "engine.log").open("ab") as file:
                file.write(log)
            if (made := Path(part) / name).is_dir():
                make_room(folder)
                made.rename(folder)  # whole or not at all
            if self.read().finished(name):
                self._note(name, self.read().test(name).summary())

    def check_same(self, name: str, test: Test, asked: RunParams) -> None:
        """Refuse a finished test that was made in another way than is asked now.

        Raises:
            ParameterError: naming the first thing that differs.
        """
        if differs := self._differs(test, asked):
            problem = f"its test {name} was made with {differs}"
            raise ParameterError("run_name", self.folder.name, problem, "give another run_name")

    def _differs(self, test: Test, asked: RunParams) -> str:
        """The first thing in which a test differs from what is asked now; or nothing."""
        facts = self.model, self.samples.facts
        mode, where = test.result.mode, test.environment or self.environment
        made = identity(mode, test.params, *facts, where)
        return difference(made, identity(mode, asked, *facts, self.environment))

    def asked(self, mode: Mode, changes: dict[str, object]) -> RunParams:
        """The parameters of a test.

        Raises:
            ParameterError: if a change is of what the loaded engine or the run cannot change.
        """
        for name in changes:
            if name in self.params.names("fixed", "model", "samples"):
                cure = "use variant, which loads an engine of its own"
                problem = "belongs to the engine that the run has loaded"
                raise ParameterError(name, changes[name], problem, cure)
        if "target_qps" not in changes:
            changes = self._rate(mode) | changes
        return self.params.changed(**changes)

    def _rate(self, mode: Mode) -> dict[str, object]:
        """The rate of a test, where it is not the parameters' own."""
        searched = self.params.target_qps == "auto"
        # A server that is reached by HTTP is asked no faster than its user said.
        at_once = searched or (self.params.engine != "openai" and not self.params.serve)
        if mode == "accuracy" and self.params.scenario == "Server" and at_once:
            return {"target_qps": ACCURACY_QPS}
        return self._without_a_rate() if searched else {}

    def _without_a_rate(self) -> dict[str, object]:
        """The rate that a search has found."""
        found = self.read()
        if found.finished("performance"):
            return {"target_qps": found.test("performance").params.rate}
        cure = "search first: find_peak(run) ends with the performance test"
        raise ParameterError("target_qps", "auto", "is no rate to run a test at", cure)

    def rename(self, name: str, new_name: str) -> None:
        """Give a test another name.

        Raises:
            ParameterError: if there is no such test.
        """
        if not self.read().has(name):
            raise ParameterError("name", name, "is no test of this run", "give one that is there")
        (self.folder / name).rename(self.folder / new_name)
        self.read().summary.renamed(name, new_name).write(self.folder / "summary.json")

    def variant(self, name: str, **changes: object) -> "LiveRun":
        """A run within this one, of the same model and samples under changed parameters."""
        folder, found = self.folder / name, self.read()
        folder.mkdir(parents=True, exist_ok=True)
        params = self.params.changed(**changes)
        model = self.model
        if params.engine != "openai":
            params = params.changed(dtype=models.resolve_dtype(params.dtype, self.model_path))
        if model.dtype not in (None, params.dtype):  # another type has other bytes
            revision = self.params.model_revision
            trusted = params.trust_remote_code
            model = models.describe(model.name, self.model_path, params.dtype, revision, trusted)
        write_text(folder / "params.yaml", recorded(params).to_yaml())
        model.write(folder / "model.json")
        found.dataset.write(folder / "dataset.json")
        found.environment.write(folder / "environment.json")
        if found.machine is not None:
            found.machine.write(folder / "machine.json")
        return LiveRun(
            folder, params, model, self.model_path, self.tokenizer, self.samples, self.environment
        )

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
        folder, run = self.folder / "accuracy", self.read()
        test = run.test("accuracy")
        if test.result.resumed_samples:
            resume.join_logs(test, self._answered_before(folder, test.params))
        log = folder / ACCURACY_LOG
        answers = scores.answer_tokens(log, len(self.samples), len(self.tokenizer))
        samples = scores.score_tokens(answers, self.samples.references, self._decode)
        score = scores.totals(samples)
        known = baseline.load_baseline(self._baseline_key())
        if is_official(run):
            verdict = scores.official_verdict(score, self.params.rules)
        else:
            nearest = baseline.nearest(self._baseline_key())
            verdict = scores.baseline_verdict(score, known, samples, nearest)
        found, why_not = fidelity.against_baseline(folder, answers, known)
        accuracy = Accuracy(score=score, verdict=verdict, fidelity=found, no_fidelity=why_not)
        accuracy.write(folder / "accuracy.json")
        write_frame(folder / "scores.parquet", samples.drop(columns="reference"))
        self._note("accuracy", TestSummary(score=score, verdict=verdict.status))
        return samples

    def make_baseline(self) -> Score:
        """Let the reference engine answer this run's samples; the result is stored for all runs."""
        made, answers = baseline.make_baseline(
            self.model_path,
            self.samples.prompts,
            self.samples.references,
            self._decode,
            self._baseline_key(),
            self.model.eos_token_ids,
            trust_remote_code=self.params.trust_remote_code,
        )
        baseline.save_baseline(made, answers, baseline.EMBEDDED)
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
    def kill(self) -> None:
        """End the engine now, whatever it does; for another thread than the test's."""
        if self._session is not None:
            self._session.kill()

    def close(self) -> None:
        """End the engine, or the one that the job's earlier notebook left."""
        if self._session is not None:
            self._session.close()
            self._session = None
        else:
            handover.discard()

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_the_jobs:
            self.close()
        elif self._session is not None:
            self._session.leave()
            self._session = None


def recorded(params: RunParams) -> RunParams:
    """The parameters as a run keeps them, so that it can be given away.

    Without the place of the results: who repeats the run has another. A dataset or a model in the
    project is named from there, one in the home by ~, and one elsewhere by its name alone, which
    another try refuses, asking for its path. A cluster has no name.
    """
    return params.changed(
        outputs=RunParams().outputs,
        run_name="",
        workers="auto" if isinstance(params.workers, str) else params.workers,
        model=portable_path(params.model),
        dataset=portable_path(params.dataset),
    )


def _check_same(
    folder: Path, model: Model, dataset: Dataset, params: RunParams, here: Environment
) -> None:
    """Refuse to mix: all tests of a folder are of one model, dataset, engine and machine."""
    before = Model.read_if_there(folder / "model.json")
    if before and params.engine == "openai":
        before = before.served()  # older runs recorded a type
    if before and (before.weights_sha256, before.dtype) != (model.weights_sha256, model.dtype):
        _refuse_to_mix(folder, f"{before.name} in {before.dtype}")
    if before and (file := _changed_file(before.sha256, model.sha256)):
        _refuse_to_mix(folder, f"{before.name} with another {file}")
    if any(folder.rglob("result.json")):
        known_params = RunParams.recorded(folder / "params.yaml")
        for name in params.names("fixed"):
            if _as_set(getattr(known_params, name)) != _as_set(getattr(params, name)):
                _refuse_to_mix(folder, f"{name} = {getattr(known_params, name)!r}")
        where = Environment.read_if_there(folder / "environment.json") or here
        if differs := difference(machine_identity(where), machine_identity(here)):
            _refuse_to_mix(folder, differs)
    if known := Dataset.read_if_there(folder / "dataset.json"):
        scores.check_same_dataset(known, dataset)


def _changed_file(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first file whose SHA-256 differs, or that only one side has; empty if none does."""
    return next((name for name in {**now, **before} if before.get(name) != now.get(name)), "")


def _as_set(value: object) -> object:
    """Servers are the same in any order."""
    return sorted(value) if isinstance(value, list) else value


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
