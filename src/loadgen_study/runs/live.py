"""A run that measures: from parameters to a results folder, one test after another."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from loadgen_study.accuracy import fidelity
from loadgen_study.facts.scores import Compliance
from loadgen_study.params import RunParams
from loadgen_study.results.test import Test
from loadgen_study.rules import compliance
from loadgen_study.runs import handover, resume, scoring
from loadgen_study.runs.curves import shown_test
from loadgen_study.runs.folders import make_room, unpack, writing
from loadgen_study.runs.study import Study, recorded
from vllm_loadgen import Session
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.files import write_text
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.result import Mode


@dataclass
class LiveRun(Study):
    """A folder under outputs that is being filled. Use it as a context manager: the engine, loaded
    at the first test, ends with it. Between the notebooks of ``vllm-loadgen report`` it stays
    loaded (handover.py).

    Attributes:
        sut: LoadGen's system under test: vllm_loadgen's, or one with its methods.
    """

    sut: type[Session] = Session
    _is_the_jobs: bool = field(default=False, init=False, repr=False)  # False for a variant
    _session: Session | None = field(default=None, init=False, repr=False)

    @classmethod
    def start(cls, params: RunParams, sut: type[Session] = Session, kind: str = "") -> "LiveRun":
        """A new run, or one that is there and goes on; everything but the engine is loaded.

        Args:
            sut: LoadGen's system under test, which hosts the engine.
            kind: "setup", "accuracy" or "perf": without a run_name a notebook joins the run that
                the others began (folders.py).

        Raises:
            ParameterError: if model, dataset or folder cannot be used, or the folder's tests are of
                another model, dataset, engine or machine.
        """
        run = cls.load(params, kind)
        run.sut, run._is_the_jobs = sut, True
        return run

    def session(self) -> Session:
        """The loaded engine; loaded at the first call, and again if it has ended."""
        if self._session is None or not self._session.alive:
            log = self.folder / "engine.log"
            loaded = self.params.loaded
            self._session = handover.open_session(loaded, self.model_path, log, self.sut)
            self._session.engine.write(self.folder / "engine.json")
        return self._session

    def perform(self, mode: Mode, name: str = "", **changes: object) -> Test:
        """One LoadGen test.

        Args:
            mode: "performance", "accuracy" or "compliance".
            name: folder of the test, if not that of the mode; it decides which compliance test.
            changes: LoadGen's parameters for this test alone, such as target_qps.

        Raises:
            EngineError: if the engine cannot be loaded or dies; what was measured is kept.
            ParameterError: if the run has this test already, or has no rate to run it at.
        """
        if mode not in get_args(Mode):
            raise ParameterError("mode", mode, "is not known", f"give one of {get_args(Mode)}")
        name = name or mode
        params, folder = self.test_params(mode, changes), self.folder / name
        audited = compliance.of_folder(params.rules, name) if mode == "compliance" else None
        # A damaged baseline is refused before the test.
        reference = scoring.reference(self) if mode == "accuracy" else None
        if self.folder.resolve() not in folder.resolve().parents:
            raise ParameterError("name", name, "leaves the run's folder", "give a plain name")
        with writing(self.folder):
            make_room(folder)
            # Written before the test, so that an interrupted one has them too.
            write_text(folder / "params.yaml", recorded(params).to_yaml())
            self.environment.write(folder / "environment.json")
            if (limits := self.read().machine) is not None:
                limits.write(folder / "machine.json")
            samples, left, done = self.samples_of(name), None, 0
            prompts = samples.prompts
            audit = audited.write_audit_config(folder, len(prompts)) if audited else None
            if name in self.others:
                samples.facts.write(folder / "dataset.json")
            if mode == "accuracy" and (known := resume.answered_before(self, folder, params)):
                left = resume.left_over(known, len(prompts))
                done = len(prompts) - len(left)
                print(f"{name}: {done:,} of {len(prompts):,} samples were answered before")
                prompts = Prompts.of(prompts[number] for number in left)
            session = self.session()
            with shown_test(params, len(prompts), mode) as show:
                session.run(params, prompts, mode, folder, audit, left, done, on_progress=show)
            test = Test.open(folder)
            self.note(name, test.summary())
            scoring.force(self, self.session, folder, reference)
        return test

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
                scoring.force(self, self.session, test.folder, scoring.reference(self))
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
        self.check_same(name, test, self.test_params(mode, changes))
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
            if (engine := Path(part) / "engine.json").is_file():
                engine.replace(self.folder / engine.name)
            with (self.folder / "engine.log").open("ab") as file:
                file.write(log)
            if (made := Path(part) / name).is_dir():
                make_room(folder)
                made.rename(folder)  # whole or not at all
            if (found := self.read()).finished(name):
                self.note(name, found.test(name).summary())

    def rename(self, name: str, new_name: str) -> None:
        """Give a test another name.

        Raises:
            ParameterError: if there is no such test.
        """
        if not self.read().has(name):
            problem = "is not a test of this run"
            raise ParameterError("name", name, problem, "give one that is there")
        (self.folder / name).rename(self.folder / new_name)
        self.read().summary.renamed(name, new_name).write(self.folder / "summary.json")

    def comply(self) -> Iterator[Compliance]:
        """Make and judge each compliance test that the benchmark requires."""
        for test in compliance.required(self.params.rules):
            self.once(test.folder, "compliance")
            yield self.verify(test.folder)

    verify = scoring.verify
    score = scoring.score
    make_baseline = scoring.make_baseline

    def kill(self) -> None:
        """End the engine at once; for another thread than the test's."""
        if self._session is not None:
            self._session.kill()

    def close(self) -> None:
        """End the engine, or the one that the job's earlier notebook left."""
        if self._session is not None:
            self._session.close()
            self._session = None
        else:
            handover.drop()

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_the_jobs:
            self.close()
        elif self._session is not None:
            handover.park(self._session)
            self._session = None
