"""What a Ray worker runs: tests of one engine, in a folder of its own, returned as archives."""

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
        model_path: the model on the run's machine; another machine looks for ``params.model``.
        environment: of the run's machine; the worker's must be equal.
        limits: of that machine, if they were measured.
        threads: OMP_NUM_THREADS of the run, which Ray sets to 1 where it is not set.
    """

    params: RunParams
    model: Model
    model_path: str
    environment: Environment
    limits: MachineLimits | None
    threads: str | None

    @classmethod
    def of(cls, run: LiveRun) -> "Setup":
        """The setup of a run as it is now."""
        limits, threads = run.read().machine, os.environ.get("OMP_NUM_THREADS")
        return cls(run.params, run.model, str(run.model_path), run.environment, limits, threads)


@dataclass(frozen=True)
class TestArchive:
    """A test that has ended.

    Attributes:
        packed: its files (see ``folders.pack``). log: the engine's output meanwhile.
        problem: why the test failed, in one line; empty if it did not.
    """

    packed: bytes = b""
    log: bytes = b""
    problem: str = ""


class RemoteRunner:
    """The Ray actor. Its methods may be called from several threads; tests run one at a time."""

    def __init__(self, setup: Setup, samples: data.Samples) -> None:
        self._setup, self._samples = setup, samples
        self._folder = Path(tempfile.mkdtemp(prefix="vllm-loadgen-"))
        self._run: LiveRun | None = None
        self._log_read = 0
        self._share = 0.0
        progress.report_to(self._set_share)

    def run_test(self, step: Step) -> TestArchive:
        """Run one test; a failure is returned as ``problem``, not raised."""
        self._share, problem = 0.0, ""
        try:
            self._run = self._run or self._start()
            self._run.perform(step.mode, step.name, **step.changes)
        except BenchmarkError as error:
            problem = portable(scrub(str(error).splitlines()[0]))
        return TestArchive(pack(self._folder, (step.name, "engine.json")), self._new_log(), problem)

    def share(self) -> float:
        """The completed fraction of the running test, 0 to 1."""
        return self._share

    def stop(self) -> None:
        """End the engine and delete the folder."""
        if self._run is not None:
            self._run.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> LiveRun:
        """The run on this machine.

        Raises:
            BenchmarkError: if model, machine or software differ from the run's.
        """
        setup, params = self._setup, self._setup.params
        os.environ.pop("OMP_NUM_THREADS", None)
        if setup.threads is not None:
            os.environ["OMP_NUM_THREADS"] = setup.threads
        path = Path(setup.model_path)
        if not path.is_dir():
            path = models.resolve(find_file(params.model), params.model_revision)
        origin = {"command": setup.environment.command, "git": setup.environment.git}
        here = environment(params.devices).model_copy(update=origin)
        differs = difference(machine_identity(setup.environment), machine_identity(here))
        if models.describe(params.model, path, params.dtype).sha256 != setup.model.sha256:
            differs = "other files of the model"
        if differs:
            raise BenchmarkError(f"workers: this worker does not match the run: {differs}")
        run = LiveRun(self._folder, params, setup.model, path, None, self._samples, here)
        run.write(setup.limits)
        return run

    def _new_log(self) -> bytes:
        """The engine's output since the last call."""
        log = self._folder / "engine.log"
        new = log.read_bytes()[self._log_read :] if log.is_file() else b""
        self._log_read += len(new)
        return new

    def _set_share(self, share: float) -> None:
        self._share = share
