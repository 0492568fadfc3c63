"""A run, read: its folder's facts and tests, each read once."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from loadgen_study.analysis.anatomy import Anatomy, NoAnatomy, Placed, Shares, anatomy, shares
from loadgen_study.analysis.counted_steps import CountedSteps, counted_steps
from loadgen_study.analysis.metrics import metrics
from loadgen_study.analysis.repeats import median_place
from loadgen_study.analysis.roofline import Roofline, as_loaded, impossible, roofline
from loadgen_study.benchmarks.record import Task
from loadgen_study.facts.inputs import Dataset, Environment, MachineLimits, Model
from loadgen_study.facts.results import Metrics, Summary
from loadgen_study.facts.scores import Accuracy, Compliance, Peak
from loadgen_study.params import RunParams
from loadgen_study.results.bundles import SUFFIX, unpacked
from loadgen_study.results.folders import find_file, outputs_folder, shown
from loadgen_study.results.test import Test, facts_if_any, facts_of
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.records.engine import EngineFacts

# Queries that are all due within this share of a test are due at once.
AT_ONCE_SHARE = 0.1
# A test that was made again has its number behind the name.
_NUMBER = re.compile(r"-([2-9]|[1-9]\d+)$")


def repeat_name(name: str, number: int) -> str:
    """The name of a test's run by its number, from 1: NAME, NAME-2, NAME-3."""
    return name if number == 1 else f"{name}-{number}"


def repeated_name(name: str) -> str:
    """The name of the test that a run is of: ``repeat_name`` undone."""
    return _NUMBER.sub("", name)


def median_run(tests: Sequence[Test]) -> Test:
    """The median by tokens/s of a test's runs; of an even number the slower of the middle two."""
    return tests[median_place([test.metrics.tokens_per_s for test in tests])]


def _has_ended(folder: Path) -> bool:
    """Whether any test of a run came to its end; False for a run that cannot be read."""
    try:
        tests = (Summary.read_if_there(folder / "summary.json") or Summary()).tests
    except BenchmarkError:
        return False
    return any(test.status == "complete" for test in tests.values())


@dataclass(frozen=True, eq=False)
class Run:
    """One folder under outputs, as ``LiveRun`` made it; ``LiveRun.read`` returns this.

    Attributes:
        folder: where it lies. params: those of the run.
        bundle: the zip file that it was unpacked from, as the user named it; else empty.
    """

    folder: Path
    params: RunParams
    bundle: str = ""
    _tests: dict[str, Test] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """The run in a folder, or in a zip file of one.

        Args:
            folder: named from the working directory or from the project's root.

        Raises:
            ParameterError: if there is none.
        """
        path, bundle = Path(find_file(str(folder))), ""
        if path.suffix == SUFFIX and path.is_file():
            path, bundle = unpacked(path), str(folder)
        if not (path / "params.yaml").is_file():
            cure = "give the folder of a run, as in outputs/NAME, or a zip of one"
            raise ParameterError("run", str(folder), "holds no params.yaml", cure)
        return cls(path, RunParams.recorded(path / "params.yaml"), bundle)

    @classmethod
    def newest(cls, outputs: str = "outputs") -> "Run":
        """The run whose parameters were written last, of those with a test that came to its end.

        Raises:
            ParameterError: if there is none.
        """
        files = outputs_folder(outputs).glob("*/params.yaml")
        runs = [file.parent for file in sorted(files, key=lambda file: -file.stat().st_mtime)]
        if not runs:
            raise ParameterError("run", "", f"there is no run under {outputs}", "make one first")
        return cls.open(next((run for run in runs if _has_ended(run)), runs[0]))

    def display_path(self, file: str = "") -> str:
        """The path of the run, or of a file in it, as the user may give it to the program.

        Of a run from a zip file it lies in the zip file.
        """
        return shown(Path(self.bundle or self.folder) / file)

    def _repr_html_(self) -> str:
        rows = {
            name: {
                "status": test.status,
                "verdict": test.verdict,
                "queries": test.queries,
                "samples/s": test.metrics and f"{test.metrics.samples_per_s:.3f}",
                "output tokens/s": test.metrics and f"{test.metrics.tokens_per_s:.1f}",
            }
            for name, test in self.summary.tests.items()
        }
        title = html.escape(f"{self.folder.name}: {self.params.model}, {self.params.scenario}")
        if not rows:
            return f"<b>{title}</b> has no test yet"
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("test").reset_index()
        return f"<b>{title}</b>{frame.fillna('').to_html(index=False, border=0)}"

    # Its tests ----------------------------------------------------------------------------------
    def has(self, name: str) -> bool:
        """Whether the run holds this test, finished or not."""
        return (self.folder / name / "result.json").is_file()

    def finished(self, name: str) -> bool:
        """Whether the run holds this test from its start to its end."""
        return self.has(name) and self.test(name).result.complete

    def test(self, name: str) -> Test:
        """A test by its folder's name, such as "performance" or "sweep/0.5-qps"; read once.

        Raises:
            BenchmarkError: if there is none, or it cannot be read.
        """
        if name not in self._tests:
            self._tests[name] = Test.open(self.folder / name)
        return self._tests[name]

    def finished_tests(self, pattern: str) -> dict[str, Test]:
        """The finished tests whose folders match, by name, in the order of their names."""
        paths = sorted(self.folder.glob(f"{pattern}/result.json"))
        names = [str(path.parent.relative_to(self.folder)) for path in paths]
        return {name: self.test(name) for name in names if self.test(name).result.complete}

    def repeats(self, name: str) -> dict[str, Test]:
        """The finished runs of a test, by name, in the order of their numbers.

        One with other parameters than the first is another test.
        """
        tests = self.finished_tests(f"{name}*")
        runs = [key for key in tests if repeated_name(key) == name]
        runs.sort(key=lambda key: (len(key), key))  # 10 after 9
        params = [tests[key].params for key in runs]
        made = [one.model_dump(exclude={*one.names("ignored")}) for one in params]
        return {key: tests[key] for key, with_ in zip(runs, made, strict=True) if with_ == made[0]}

    @cached_property
    def performance(self) -> Test | None:
        """The performance test, finished or not; of several finished runs the median."""
        if made := list(self.repeats("performance").values()):
            return median_run(made)
        return self.test("performance") if self.has("performance") else None

    @property
    def performance_name(self) -> str:
        """The name of the test that ``performance`` is."""
        return self.performance.folder.name if self.performance else "performance"

    # Its facts ----------------------------------------------------------------------------------
    model = facts_of(Model, "model.json")
    dataset = facts_of(Dataset, "dataset.json")
    environment = facts_of(Environment, "environment.json")
    # None of what was not measured, loaded, scored or searched for.
    machine = facts_if_any(MachineLimits, "machine.json")
    engine = facts_if_any(EngineFacts, "engine.json")
    accuracy = facts_if_any(Accuracy, "accuracy/accuracy.json")
    compliance = facts_if_any(Compliance, "compliance/compliance.json")
    peak = facts_if_any(Peak, "peak.json")

    @cached_property
    def summary(self) -> Summary:
        """summary.json; empty before the first test."""
        return Summary.read_if_there(self.folder / "summary.json") or Summary()

    @cached_property
    def scored_data(self) -> Dataset:
        """dataset.json of the accuracy test, which may have data of its own."""
        return Dataset.read_if_there(self.folder / "accuracy" / "dataset.json") or self.dataset

    @property
    def task(self) -> Task:
        """What the run's benchmark asks, and how the answers are judged."""
        return self.params.rules.task

    @property
    def score(self) -> float | None:
        """The answers' figure in the main metric; None if they were not scored, or cannot be."""
        if self.accuracy is None or not self.scored_data.scorable:
            return None
        return self.accuracy.score.get(self.task.scorer.main.name)

    # What is computed from both -----------------------------------------------------------------
    @cached_property
    def batch(self) -> Metrics | None:
        """Metrics of the accuracy test as a batch; None unless all its samples were due at once."""
        if not self.finished("accuracy"):
            return None
        test, frame = self.test("accuracy"), self.test("accuracy").latencies
        if test.result.resumed_samples or frame.empty:
            return None
        if frame["scheduled_s"].max() > AT_ONCE_SHARE * frame["done_s"].max():
            return None
        return metrics(frame, "Offline")

    @property
    def devices(self) -> int:
        """Accelerators that were used, whatever the machine has; 1 on a CPU."""
        return self.params.devices if self.environment.gpus else 1

    @property
    def _weights_known(self) -> bool:
        """Whether a model with known weights answers: not a server, and not the echo engine.

        Without them no limit is computed.
        """
        traits = self.params.engine_traits
        return traits.started_here and traits.runs_model

    def roofline_of(self, test: Test) -> Roofline | None:
        """What the machine's limits allow a test of the run; None where they are not known."""
        if not self._weights_known:
            return None
        placed = test.placed
        batch = placed.decode_batch if isinstance(placed, Placed) else test.load.mean_served
        return roofline(
            as_loaded(self.model, self.params.quantization),
            self.machine,
            test.metrics,
            batch / self.steps_at_once,
            float(test.latencies["input_tokens"].mean()),
            self.params.kv_cache_dtype,
            self._shared(),
        )

    @property
    def steps_at_once(self) -> int:
        """Steps that run at the same time, each with a batch of its own.

        One for each replica and each part of a pipeline: the parts compute a token one after the
        other, so they make no step faster.
        """
        return self.params.data_parallel_size * self.params.pipeline_parallel_size

    def _shared(self) -> float:
        """GPUs that share each layer, or the part of the CPU that each replica has."""
        if self.environment.gpus:
            return self.params.tensor_parallel_size
        return 1 / self.params.data_parallel_size

    @cached_property
    def roofline(self) -> Roofline | None:
        """What the machine's limits allow the performance test; None if not measured."""
        return None if self.performance is None else self.roofline_of(self.performance)

    @cached_property
    def anatomy(self) -> Anatomy | NoAnatomy:
        """Where the performance test's time went, step by step, against the machine's limits."""
        return self._anatomy_of(self.performance, self.roofline)

    @cached_property
    def counted_steps(self) -> CountedSteps | None:
        """The steps that a server counted over the performance test; None if it did not."""
        test, limits = self.performance, self.roofline
        if test is None or limits is None or not test.result.server or self.steps_at_once > 1:
            return None
        dtype, whole_s = self.params.kv_cache_dtype, test.metrics.duration_s
        return counted_steps(test.result.server, test.latencies, whole_s, self.model, limits, dtype)

    @cached_property
    def shares(self) -> Shares | None:
        """``shares_of`` the performance test; None if not measured."""
        if self.performance is None or self.roofline is None:
            return None
        return shares(self.anatomy, self.roofline, self.performance.metrics)

    def shares_of(self, test: Test) -> Shares | None:
        """How near a test of the run came to the machine's limits; None if not measured."""
        if (limits := self.roofline_of(test)) is None:
            return None
        return shares(self._anatomy_of(test, limits), limits, test.metrics)

    def _anatomy_of(self, test: Test | None, limits: Roofline | None) -> Anatomy | NoAnatomy:
        if test is None:
            return NoAnatomy("there is no performance test")
        if not self.params.engine_traits.started_here:
            return NoAnatomy("a server's type and weights are not known")
        if limits is None:
            return NoAnatomy("there are no measured limits to set its steps against")
        if self.params.pipeline_parallel_size > 1:
            return NoAnatomy("the parts of its pipeline compute several steps at once")
        if isinstance(found := test.placed, NoAnatomy):
            return found
        whole_s, kv_cache_dtype = test.metrics.duration_s, self.params.kv_cache_dtype
        return anatomy(found, test.latencies, whole_s, self.model, limits, kv_cache_dtype)

    @cached_property
    def impossible(self) -> list[str]:
        """Figures of the performance test above what the machine's limits allow, as sentences."""
        if self.performance is None or not self._weights_known:
            return []
        return impossible(
            as_loaded(self.model, self.params.quantization),
            self.machine,
            self.performance.metrics,
            self.params.tensor_parallel_size if self.environment.gpus else 1,
            self.devices,
        )
