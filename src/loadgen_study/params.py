"""What a study is: a test's parameters, its model and data, its extra tests; read from YAML, a
command line or a notebook's parameters cell."""

import math
import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.benchmarks.record import Benchmark
from loadgen_study.parameter_files import (
    KeyTwice,
    Types,
    kinds,
    plain_yaml,
    read_file,
    takes_text,
    value_in,
)
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.params import ENGINE, LOADGEN, Rate, TestParams, Trait, noted, option

NOT_KNOWN = "not known"
EMBEDDED = "embedded"  # a dataset: the task's built-in data
# Defaults from the benchmark's task.
OF_THE_TASK = ("instruction", "max_new_tokens", "min_new_tokens", "accuracy_max_new_tokens")
SAMPLING = ("temperature", "top_p", "top_k")
# A Ray cluster: of a driver on its network, or (ray://) of a client.
CLUSTER = re.compile(r"(ray://)?[\w.-]+:\d{1,5}")
# What a run's name may be: it is a folder's name, and stands in reports.
PLAIN_NAME = re.compile(r"[\w.+-]([\w .+-]*[\w.+-])?")
MEASURED, EXTRA, COSTS = "What is measured", "Extra tests", "What it costs, where it goes"
# A tuning measures no more combinations than that: of more a random sample, by a fixed seed.
MOST_COMBINATIONS, COMBINATIONS_SEED = 24, 0
GROUPS = (MEASURED, LOADGEN, EXTRA, ENGINE, COSTS)  # in the order in which they are listed
of_measured, of_extra, of_costs = (partial(option, group) for group in (MEASURED, EXTRA, COSTS))
TEXT_CURE = "papermill keeps text with -r NAME VALUE; in a file or a cell put it into quotes"


class RunParams(TestParams):
    """Every parameter of a run, flat, so that papermill's ``-p`` reaches each of them.

    The defaults are the embedded job on a CPU and equal ``params/cpu.yaml``.
    """

    model: str = of_measured("smollm2-135m-instruct", "model", "ignored", "shown")
    """the embedded model's name, a folder, or a hub id"""
    model_revision: str | None = of_measured(None, "model", "ignored", "shown")
    """revision of a model from the hub"""
    dataset: str = of_measured(EMBEDDED, "samples", "ignored", "shown")
    """embedded, cnn_dailymail, or a file's path"""
    accuracy_dataset: str = of_measured("", "samples", "ignored")
    """data of the accuracy test; empty: those of the performance test"""
    compliance_dataset: str = of_measured("", "samples", "ignored")
    """data of compliance test TEST07; empty: those of the accuracy test"""
    num_samples: int = of_measured(0, "samples", "ignored", "shown", ge=0)
    """use the first N samples; 0 is all of them"""
    accuracy_max_new_tokens: int | None = of_measured(None, "fixed", "answers", ge=2)
    """longest answer of an accuracy test, tokens; None: max_new_tokens"""
    dataset_sha256: str = of_measured("", "ignored", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of MLCommons' file as you downloaded it; the known ones are accepted as well"""
    instruction: str = of_measured(SUMMARIES.instruction, "prompts", "fixed", "ignored")
    """prompt, with {input}"""
    chat_template: bool = of_measured(True, "prompts", "fixed", "ignored", "shown")
    """wrap the prompt as a chat turn"""

    compliance: bool = of_extra(False, "ignored")
    """run the benchmark's compliance tests as well"""
    sweep_qps: list[Rate] = of_extra([], "ignored")
    """a Server test at each of these rates, queries/s"""
    sweep_concurrency: list[Annotated[int, Field(gt=0)]] | Literal["auto"] = of_extra([], "ignored")
    """a test at each of these numbers of queries at once; auto: 1, 2, 4, ... until twice as many
    gain less than 5 % tokens/s"""
    sweep_budget_s: float | None = of_extra(900, "ignored", gt=0)
    """time budget of sweep_concurrency, s; None: no limit"""
    tune: dict[str, list[Any]] = of_extra({}, "ignored")
    """parameters to vary one at a time, each with a list of values"""
    tune_accuracy: bool = of_extra(False, "ignored")
    """tune: score the answers of each value as well"""
    tune_objective: Literal["tokens_per_s", "valid_qps", "goodput", "cost"] = of_extra(
        "tokens_per_s", "ignored"
    )
    """tune: tokens_per_s varies one parameter at a time. The others search all combinations, within
    limits and answers, for the highest VALID rate (valid_qps), the most queries/s within the limits
    (goodput), or the lowest price of 10^6 output tokens (cost)"""
    repeats: int = of_extra(1, "ignored", ge=1, le=100)
    """runs of the performance test, and of each test of a sweep or a tuning; 3 or more give an
    interval between runs"""
    workers: Annotated[int, Field(ge=1, le=1000)] | str | None = of_extra(None, "ignored")
    """tests that run at once, each on GPUs of its own: a number, auto, or a Ray cluster's
    host:port; None: one after another"""
    compare_in_process: bool = of_extra(False, "ignored")
    """serve: make the performance test in process as well, side by side"""

    price_per_hour: float | None = of_costs(None, "ignored", gt=0)
    """price of the whole system per hour, in your currency"""
    outputs: str = of_costs("outputs", "ignored", "place")
    """folder of all runs"""
    # The last of all: a recorded file without it was cut short.
    run_name: str = of_costs("", "ignored", "place")
    """name of this run's folder; empty: made from time and model"""

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Papermill's -p gives a list or a mapping as text; what it made of a text is refused."""
        assert info.field_name is not None
        annotation = cls.model_fields[info.field_name].annotation
        value = text_of(info.field_name, value, annotation)
        if not isinstance(value, str) or kinds(annotation).isdisjoint((list, dict)):
            return value
        try:
            return plain_yaml(value)
        except KeyTwice:
            raise
        except ValueError:
            raise ValueError("is not a list or mapping in YAML or JSON") from None

    @field_validator("workers")
    @classmethod
    def _read_workers(cls, value: int | str | None) -> int | str | None:
        """A number may come as text, as all of papermill's -p."""
        if not isinstance(value, str) or value == "auto" or CLUSTER.fullmatch(value):
            return value
        if not value.isdigit() or not 1 <= int(value) <= 1000:
            raise ValueError("must be a positive integer, auto or host:port")
        return int(value)

    @model_validator(mode="after")
    def _fits_the_study(self) -> Self:
        self._check_benchmark()
        self._check_names()
        self._check_extra_tests()
        self._check_tuning()
        return self

    def _check_benchmark(self) -> None:
        if self.benchmark not in BENCHMARKS:
            self._refuse("benchmark", "is not known", f"give one of {', '.join(BENCHMARKS)}")
        if self.target_qps == "auto" and not self.scenario_traits.limited:
            problem = f"has no meaning in {self.scenario}: only Server has limits to search by"
            self._refuse("target_qps", problem, "give scenario Server, or a number")
        only, *others = self.rules.scenarios
        if not others and self.scenario != only:
            problem = f"{self.benchmark} exists in the {only} scenario only"
            self._refuse("scenario", problem, f"give scenario {only}, or another benchmark")
        if "{input}" not in self.instruction:
            text = self.rules.task.data.text[0]
            cure = f"put {{input}} where the {text} goes"
            self._refuse("instruction", f"has no place for the {text}", cure)

    def _check_names(self) -> None:
        for name, value in self:
            if isinstance(value, str) and "\0" in value:
                self._refuse(name, "holds a NUL byte", "leave it out")
        plain = PLAIN_NAME.fullmatch(self.run_name) and self.run_name not in (".", "..")
        if self.run_name and not plain:
            cure = (
                "use letters, digits and . _ + -; a parent folder goes into the parameter outputs"
            )
            self._refuse("run_name", "is not a plain name", cure)

    def _check_extra_tests(self) -> None:
        for rate in self.sweep_qps:
            self._check_rate("sweep_qps", rate)
        if self.side_by_side and not self.engine_traits.started_here:
            cure = "leave it out, or tune the server's engine here (engine vllm)"
            self._refuse("workers", "would all ask the same server, and measure each other", cure)
        if self.compare_in_process and not self.serve:
            self._refuse("compare_in_process", "has nothing to compare with", "give serve as well")

    def _check_tuning(self) -> None:
        """Only what may be varied is, and each value would do as a parameter."""
        others = self.model_dump(exclude={"tune"})
        for name, values in self.tune.items():
            given = f"tune.{name}"
            if name not in self.tunable:
                cure = f"take one of {', '.join(self.tunable)}"
                raise ParameterError(given, values, "cannot be varied within a run", cure)
            for place, value in enumerate(values):
                if value in values[:place]:
                    raise ParameterError(
                        given, values, "holds a value twice", "give each value once"
                    )
                if isinstance(value, str) and name == "target_qps":
                    raise ParameterError(given, values, "is not a rate to vary", "give numbers")
                try:
                    self.from_dict(others | {name: value})
                except ParameterError as error:
                    cure = "give values that the parameter takes"
                    raise ParameterError(given, values, str(error), cure) from None

    @classmethod
    def names(cls, *traits: Trait) -> list[str]:
        """As of ``TestParams``, group by group."""
        return sorted(super().names(*traits), key=lambda name: GROUPS.index(cls.group(name)))

    @classmethod
    def group(cls, name: str) -> str:
        """The heading of a parameter in the table of all."""
        return str(noted(cls.model_fields[name])["group"])

    @classmethod
    def by_key(cls) -> dict[str, str]:
        """Parameters by LoadGen's names in user.conf, where these are others."""
        fields = cls.model_fields.items()
        return {str(key): name for name, field in fields if (key := noted(field)["key"])}

    @property
    def tunable(self) -> list[str]:
        """What ``tune`` may vary; of a running server, the client's side alone."""
        settled = [] if self.engine_traits.started_here else self.names("fixed", "server")
        return [name for name in self.names("tunable") if name not in settled]

    @property
    def tune_settings(self) -> list[dict[str, Any]]:
        """The changes of each value of ``tune``; with a ``tune_objective``, of each combination.

        Without the run as it is. Of more than ``MOST_COMBINATIONS`` a random sample, in order.
        """
        if self.tune_objective == "tokens_per_s":
            return [{name: value} for name, values in self.tune.items() for value in values]
        places: Sequence[int] = range(self.combinations)
        if len(places) > MOST_COMBINATIONS:
            draw = random.Random(COMBINATIONS_SEED)
            places = sorted(draw.sample(places, MOST_COMBINATIONS))
        found = map(self._combination, places)
        return [one for one in found if any(getattr(self, name) != one[name] for name in one)]

    @property
    def combinations(self) -> int:
        """How many there are of the values of ``tune``."""
        return math.prod(map(len, self.tune.values()))

    def _combination(self, place: int) -> dict[str, Any]:
        """A combination of the values of ``tune`` by its place among all; the last name fastest."""
        found = {}
        for name, values in reversed(self.tune.items()):
            place, at = divmod(place, len(values))
            found[name] = values[at]
        return dict(reversed(found.items()))

    @property
    def rules(self) -> Benchmark:
        """The benchmark whose rules apply."""
        return BENCHMARKS[self.benchmark]

    @property
    def datasets(self) -> dict[str, str]:
        """Data of tests, by their folder, that have others than ``dataset``."""
        accuracy = self.accuracy_dataset
        given = {"accuracy": accuracy, "TEST07": self.compliance_dataset or accuracy}
        return {test: name for test, name in given.items() if name}

    @property
    def loaded(self) -> Self:
        """The parameters of an engine for all tests of a run: with the longest answer of any."""
        return max(self, self.scored, key=lambda params: params.max_new_tokens)

    @property
    def scored(self) -> Self:
        """The parameters of an accuracy test, as far as they differ from the others'."""
        longest = self.accuracy_max_new_tokens
        return self.changed(max_new_tokens=longest) if longest else self

    @property
    def side_by_side(self) -> bool:
        """Whether independent tests are made by workers, at once."""
        return self.workers not in (None, 1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        keys, server = cls.by_key(), cls.names("server")
        own = {keys.get(name, name): value for name, value in values.items()}
        if found := BENCHMARKS.get(str(own.get("benchmark"))):
            built_in = found.task.built_in if own.get("dataset", EMBEDDED) == EMBEDDED else {}
            task = {name: getattr(found.task, name) for name in OF_THE_TASK}
            how = {name: getattr(found.task.sampling, name) for name in SAMPLING}
            own = {**task, **how, **built_in, **own}
        # Null in the record of a run against a server.
        return super().from_dict(
            {name: v for name, v in own.items() if v is not None or name not in server}
        )

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: object) -> Self:
        """Read a parameters file; ``overrides`` win over it.

        Raises:
            ParameterError: if the file cannot be read or holds a bad parameter.
        """
        return cls.from_dict({**read_yaml(path), **overrides})

    @classmethod
    def recorded(cls, path: Path) -> Self:
        """What a run wrote down, which holds every parameter, the last of them last.

        Raises:
            BenchmarkError: if the file was cut short: what is missing is not a default.
        """
        values = read_yaml(path)
        if cls.names()[-1] not in values:
            raise BenchmarkError(f"{path} was cut short. Run again in a new folder.")
        return cls.from_dict(values)

    def known(self) -> dict[str, Any]:
        """All parameters as they are recorded: None for those of a server that runs already."""
        values = self.model_dump(mode="json") | dict.fromkeys(self.unknown)
        return {name: values[name] for name in self.names()}

    def to_yaml(self) -> str:
        """All parameters as YAML text that ``from_yaml`` reads back."""
        return str(yaml.safe_dump(self.known(), sort_keys=False, width=100))


def text_of(name: str, value: Any, annotation: Any = str) -> Any:
    """A parameter's value, in which a whole number is the text of its digits where text is taken.

    Raises:
        ParameterError: for any other value that papermill makes of a text: 1.10 is 1.1 to it.
    """
    allowed = kinds(annotation)
    if not takes_text(annotation) or int in allowed:
        return value
    if type(value) is int and str in allowed:
        return str(value)
    if isinstance(value, int | float) or (value is None and NoneType not in allowed):
        raise ParameterError(name, value, f"is a {type(value).__name__}, not text", TEXT_CURE)
    return value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The parameters in a YAML file, not validated yet.

    Raises:
        ParameterError: if there is no such file or it is not a mapping.
    """
    return read_file(path, _types(), RunParams.by_key())


def value_of(name: str, text: str) -> Any:
    """A parameter's value on a command line, not validated yet."""
    return value_in(text, _types().get(name, Any))


def _types() -> Types:
    """The types of all parameters; a server's may be null, as in the record of a run against it."""
    types: Types = {name: field.annotation for name, field in RunParams.model_fields.items()}
    return {**types, **{name: types[name] | None for name in RunParams.names("server")}}


def as_markdown(params: type[RunParams] = RunParams) -> str:
    """All parameters with defaults and meanings: the table of params/README.md."""
    lines = ["| parameter | default | meaning |", "| --- | --- | --- |"]
    for title, names in groupby(params.names(), params.group):
        lines.append(f"| **{title}** | | |")
        for name in names:
            default = f"`{params.model_fields[name].default}`".replace("``", "")
            default = "the reference's" if name == "instruction" else default
            lines.append(f"| `{name}` | {default} | {params.meaning(name)} |")
    return "\n".join(lines)
