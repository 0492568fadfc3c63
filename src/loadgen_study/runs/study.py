"""The parameters, model, data and machine that all tests of a run share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from loadgen_study import progress
from loadgen_study.accuracy import scores
from loadgen_study.accuracy.scores import check_same_dataset
from loadgen_study.analysis.roofline import as_loaded, multiplied_in
from loadgen_study.doctor import refusals
from loadgen_study.facts.inputs import Dataset, Environment, MachineLimits, Model
from loadgen_study.facts.results import TestSummary
from loadgen_study.inputs import data, machine, models
from loadgen_study.inputs.environment import environment, package_version
from loadgen_study.params import RunParams
from loadgen_study.results.folders import find_file, portable_path
from loadgen_study.results.identity import difference, identity
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs import handover, workers
from loadgen_study.runs.folders import check_unmixed, run_folder, writing
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.files import write_text
from vllm_loadgen.records.result import Mode

# An accuracy test in Server issues all at once: it is judged by answers, and the engine sets the
# pace.
ACCURACY_QPS = 1000.0


@dataclass
class Study:
    """A run's folder, and what its tests are made with.

    Attributes:
        folder: where the results go; ``read`` gives what is there.
        params: with the type that ``dtype: auto`` means for this model on this machine.
        model: model.json. samples: what LoadGen draws from. environment: environment.json.
        others: the samples of tests, by their folder, that have data of their own.
        requested_dtype: ``dtype`` as it was given, which params.yaml keeps.
    """

    folder: Path
    params: RunParams
    model: Model
    model_path: Path
    tokenizer: Any
    samples: data.Samples
    environment: Environment
    requested_dtype: str = "auto"
    others: Mapping[str, data.Samples] = field(default_factory=dict)

    @classmethod
    def load(cls, params: RunParams, kind: str = "") -> Self:
        """Everything but the engine, written into a new folder or one that is there.

        Args:
            kind: of the notebook that makes a test, which may join another's run (folders.py).

        Raises:
            ParameterError: if model, dataset or folder cannot be used, or the folder's tests are of
                another model, dataset, engine or machine.
        """
        workers.check(params)
        weights = params.engine_traits.started_here
        path = named_model(params)
        requested_dtype = params.dtype
        dtype = models.resolve_dtype(requested_dtype, path)
        if weights:
            params = params.changed(dtype=dtype)
        tokenizer = models.prompt_tokenizer(path, params.load_format, params.trust_remote_code)
        scored = {params.datasets.get("accuracy", params.dataset), *params.datasets.values()}
        loaded = {
            name: data.load_samples(
                params.changed(dataset=find_file(name)), tokenizer, scored=name in scored
            )
            for name in dict.fromkeys([params.dataset, *params.datasets.values()])
        }
        samples = loaded[params.dataset]
        others = {test: loaded[name] for test, name in params.datasets.items()}
        model = models.describe(
            params.model, path, dtype, params.model_revision, params.trust_remote_code
        )
        model = model if weights else model.served()
        here = environment(params.devices)
        for refusal in refusals(params, here, model):
            raise refusal
        for name, found in loaded.items():
            data.check_ids(found, model.vocab_size, name)
        facts = others.get("accuracy", samples).facts
        scorer = params.rules.task.scorer
        if text := scores.unscorable_text(scorer, facts.unscorable_references, facts.samples):
            print(text)
        folder = run_folder(params, recorded(params).changed(dtype=requested_dtype), kind)
        run = cls(folder, params, model, path, tokenizer, samples, here, requested_dtype, others)
        with writing(folder):
            check_unmixed(folder, params, model, samples.facts, here)
            for test in ("accuracy", *others):
                if (folder / test / "result.json").is_file():
                    known = Dataset.read_if_there(folder / test / "dataset.json")
                    check_same_dataset(known or samples.facts, run.samples_of(test).facts)
            run.write()
        return run

    def variant(self, name: str, **changes: object) -> Self:
        """A run within this one, of the same model and samples under changed parameters."""
        folder, limits = self.folder / name, self.read().machine
        folder.mkdir(parents=True, exist_ok=True)
        params = self.params.changed(**changes)
        model = self.model
        if params.engine_traits.started_here:
            params = params.changed(dtype=models.resolve_dtype(params.dtype, self.model_path))
        if model.dtype not in (None, params.dtype):  # another type has other bytes
            revision = self.params.model_revision
            trusted = params.trust_remote_code
            model = models.describe(model.name, self.model_path, params.dtype, revision, trusted)
        requested = str(changes.get("dtype", self.requested_dtype))
        made = replace(self, folder=folder, params=params, model=model, requested_dtype=requested)
        made.write(limits)
        return made

    def write(self, limits: MachineLimits | None = None) -> None:
        """Write the run's facts, and the machine's limits if they were measured."""
        requested = recorded(self.params).changed(dtype=self.requested_dtype)
        write_text(self.folder / "params.yaml", requested.to_yaml())
        self.model.write(self.folder / "model.json")
        self.samples.facts.write(self.folder / "dataset.json")
        self.environment.write(self.folder / "environment.json")
        if limits is not None:
            limits.write(self.folder / "machine.json")

    def samples_of(self, test: str) -> data.Samples:
        """What LoadGen draws from in the test of this folder."""
        return self.others.get(test, self.samples)

    def read(self) -> Run:
        """The run as its folder is now."""
        return Run.open(self.folder)

    def _repr_html_(self) -> str:
        return self.read()._repr_html_()

    def decode(self, ids: Sequence[scores.Ids]) -> list[str]:
        """Texts of token ids."""
        kept = self.params.rules.task.scorer.special_tokens
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=not kept)
        return texts

    def note(self, name: str, test: TestSummary) -> None:
        """Add what is known of a test to summary.json."""
        self.read().summary.noted(name, test).write(self.folder / "summary.json")

    def measure_limits(self) -> MachineLimits | None:
        """What the machine can do at most in this run's types; writes machine.json.

        None where a server is asked: its machine is not this one. Measured once a run, so that
        what was compared with them stays valid.

        Raises:
            BenchmarkError: if it cannot be measured.
        """
        if not self.params.engine_traits.started_here:
            print("The machine's limits: not measured, since a server is asked")
            return None
        # The measurement will tell which of the two it is.
        model = as_loaded(self.model, self.params.quantization)
        types = {multiplied_in(model, device) for device in ("cpu", "cuda")}
        wanted = types & set(machine.TYPES)
        known = self.read().machine
        if known is not None and wanted <= {*known.asked_for, *known.matrix_tflop_s}:
            print("The machine's limits: measured before, reused")
            return known
        handover.wait_until_idle()
        with progress.ticking("Measuring memory bandwidth and matrix rate"):
            idle = machine.idle_power_w(self.params.devices)
            limits = machine.measure_limits(sorted(wanted))
            limits = limits.model_copy(update={"idle_power_w": idle})
        with writing(self.folder):
            limits.write(self.folder / "machine.json")
        return limits

    def test_params(self, mode: Mode, changes: dict[str, object]) -> RunParams:
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
        params = self.params.scored if mode == "accuracy" else self.params
        return params.changed(**changes)

    def _rate(self, mode: Mode) -> dict[str, object]:
        """The rate of a test, where it is not the parameters' own."""
        searched = isinstance(self.params.target_qps, str)
        # A server that is reached by HTTP gets no more queries/s than its user gave.
        at_once = searched or not self.params.engine_traits.over_http
        if mode == "accuracy" and self.params.scenario_traits.scheduled and at_once:
            return {"target_qps": ACCURACY_QPS}
        if not searched:
            return {}
        found = self.read()
        if found.finished("performance"):
            return {"target_qps": found.test("performance").params.rate}
        cure = "make the performance test first: repeats.measure(run) finds its rate"
        raise ParameterError("target_qps", self.params.target_qps, "is not a number", cure)

    def check_same(self, name: str, test: Test, params: RunParams) -> None:
        """Refuse a finished test that was not made with these parameters.

        Raises:
            ParameterError: naming the first thing that differs.
        """
        if differs := self.differs(test, params):
            problem = f"its test {name} was made with {differs}"
            raise ParameterError("run_name", self.folder.name, problem, "give another run_name")

    def differs(self, test: Test, params: RunParams) -> str:
        """The first difference between a test and one with these parameters; or nothing."""
        facts = self.model, self.samples_of(test.folder.name).facts
        mode, where = test.result.mode, test.environment or self.environment
        made = identity(mode, test.params, *facts, where)
        return difference(made, identity(mode, params, *facts, self.environment))


def named_model(params: RunParams) -> Path:
    """The checkpoint of a run's model; its engine and dataset are looked for, nothing is loaded.

    Raises:
        ParameterError: if there is no such engine, model or dataset.
    """
    packages = params.engine_traits.packages
    if packages and not any(map(package_version, packages)):
        problem = f"is not installed (package {' or '.join(packages)})"
        cure = "run make setup DEVICE=cpu or DEVICE=cuda, or ask a server (engine openai)"
        raise ParameterError("engine", params.engine, problem, cure)
    for name in (params.dataset, *params.datasets.values()):
        data.check_there(find_file(name), params.rules.task)
    weights = params.engine_traits.started_here
    return models.resolve(find_file(params.model), params.model_revision, weights)


def recorded(params: RunParams) -> RunParams:
    """The parameters as a run keeps them, so that it can be given away.

    The results folder and a cluster's address are left out. Paths of datasets and models are kept
    from the project's folder or from ~; of one elsewhere only the name is kept, and who repeats the
    run is asked for its path.
    """
    return params.changed(
        outputs=RunParams().outputs,
        run_name="",
        workers="auto" if isinstance(params.workers, str) else params.workers,
        model=portable_path(params.model),
        **{
            name: portable_path(value)
            for name in params.names("samples")
            if isinstance(value := getattr(params, name), str)
        },
    )
