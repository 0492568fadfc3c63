"""What a worker does: tests of one engine, in a folder of its own, which go back as bytes."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadgen_study import progress
from loadgen_study.facts.inputs import Environment, MachineLimits, Model
from loadgen_study.inputs import data, models
from loadgen_study.inputs.environment import environment
from loadgen_study.params import RunParams
from loadgen_study.results.folders import find_file, portable
from loadgen_study.results.identity import difference, machine_identity
from loadgen_study.runs.folders import pack
from loadgen_study.runs.live import LiveRun
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.records.result import Mode
from vllm_loadgen.redact import scrub

LOG, ENGINE = "engine.log", "engine.json"


@dataclass(frozen=True)
class Step:
    """One test; ``changes`` are of LoadGen's parameters (see ``LiveRun.perform``)."""

    name: str
    mode: Mode = "performance"
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """The run that a worker's tests belong to.

    Attributes:
        model_path: where its machine has the model; another looks for ``params.model``.
        environment: of the machine that the run began on, which the worker's must equal.
        limits: of that machine, if they were measured.
        threads: OMP_NUM_THREADS as the run has it, which Ray sets to 1 where it is not set.
    """

    params: RunParams
    model: Model
    model_path: str
    environment: Environment
    limits: MachineLimits | None
    threads: str | None

    @classmethod
    def of(cls, run: LiveRun) -> "Setup":
        """Of a run as it lies there."""
        limits, threads = run.read().machine, os.environ.get("OMP_NUM_THREADS")
        return cls(run.params, run.model, str(run.model_path), run.environment, limits, threads)


@dataclass(frozen=True)
class Made:
    """A test that came to its end, or why not: its files, and what the engine printed."""

    packed: bytes = b""
    log: bytes = b""
    problem: str = ""


class Bench:
    """A worker: one engine at a time, loaded at the first test. Its methods may be called from
    several threads; one test is made at a time."""

    def __init__(self, setup: Setup, samples: data.Samples) -> None:
        self._setup, self._samples = setup, samples
        self._folder = Path(tempfile.mkdtemp(prefix="vllm-loadgen-"))
        self._run: LiveRun | None = None
        self._log_read = 0
        self._share = 0.0
        progress.report_to(self._note)

    def make(self, step: Step) -> Made:
        """One test, whole or not; a failure is returned as ``problem``, not raised."""
        self._share, problem = 0.0, ""
        try:
            self._run = self._run or self._begin()
            self._run.perform(step.mode, step.name, **step.changes)
        except BenchmarkError as error:
            problem = portable(scrub(str(error).splitlines()[0]))
        return Made(pack(self._folder, (step.name, ENGINE)), self._printed(), problem)

    def share(self) -> float:
        """How much of the test under way is done, 0 to 1."""
        return self._share

    def stop(self) -> None:
        """End the engine, and leave nothing behind."""
        if self._run is not None:
            self._run.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> LiveRun:
        """The run on this machine.

        Raises:
            BenchmarkError: if model, machine or software are others than the run's.
        """
        setup = self._setup
        os.environ.pop("OMP_NUM_THREADS", None)
        if setup.threads is not None:
            os.environ["OMP_NUM_THREADS"] = setup.threads
        params = setup.params
        path = Path(setup.model_path)
        if not path.is_dir():
            path = models.resolve(find_file(params.model), params.model_revision)
        here = environment(params.devices)
        made_by = setup.environment.command, setup.environment.git
        here = here.model_copy(update=dict(zip(("command", "git"), made_by, strict=True)))
        differs = difference(machine_identity(setup.environment), machine_identity(here))
        if models.describe(params.model, path, params.dtype).sha256 != setup.model.sha256:
            differs = "other files of the model"
        if differs:
            raise BenchmarkError(f"workers: this one is no place for the run: {differs}")
        run = LiveRun(self._folder, params, setup.model, path, None, self._samples, here)
        run.write(setup.limits)
        return run

    def _printed(self) -> bytes:
        """What came to the engine's log since the last call."""
        log = self._folder / LOG
        printed = log.read_bytes()[self._log_read :] if log.is_file() else b""
        self._log_read += len(printed)
        return printed

    def _note(self, share: float) -> None:
        self._share = share
