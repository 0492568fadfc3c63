"""What a study is: a test's parameters, its model and data, its extra tests; read from YAML, a
command line or a notebook's parameters cell."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from loadgen_study.benchmarks import BENCHMARKS, REFERENCE_INSTRUCTION, Benchmark
from loadgen_study.parameter_files import (
    ALIASES,
    KeyTwice,
    Types,
    kinds,
    plain_yaml,
    read_file,
    takes_text,
    value_in,
)
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.params import OF_THE_SERVER, Rate, TestParams

# What ``tune`` may vary: the data and the prompts stay.
TUNABLE = (
    "target_qps", "concurrency", "longest_first", "dtype", "max_model_len",
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "executor",
    "gpu_memory_utilization", "cpu_kv_cache_gib", "cpu_reserved_cores",
    "max_num_seqs", "max_num_batched_tokens", "enforce_eager",
    "kv_cache_dtype", "quantization", "load_format", "enable_prefix_caching", "engine_options",
)  # fmt: skip
# What ``tune`` may vary of a server that somebody else has started.
TUNABLE_SERVED = ("target_qps", "concurrency", "longest_first")
NOT_KNOWN = "not known"
# A Ray cluster: of a driver beside it, or (ray://) of a client.
CLUSTER = re.compile(r"(ray://)?[\w.-]+:\d{1,5}")
# What a run's name may be: it is a folder's name, and stands in reports.
PLAIN_NAME = re.compile(r"[\w.+-]([\w .+-]*[\w.+-])?")
# Headings of the parameters, by the first field of each group, in the order of the table.
GROUPS = {
    "model": "What is measured", "benchmark": "How LoadGen asks", "compliance": "Extra tests",
    "engine": "The engine", "price_per_hour": "What it costs, where it goes",
}  # fmt: skip
TEXT_CURE = "papermill keeps text with -r NAME VALUE; in a file or a cell put it into quotes"


class RunParams(TestParams):
    """Every parameter of a run, flat, so that papermill's ``-p`` reaches each of them.

    The defaults are the embedded job on a CPU and equal ``params/cpu.yaml``.
    """

    # What is measured
    model: str = Field(
        "smollm2-135m-instruct", description="the embedded model's name, a folder, or a hub id"
    )
    model_revision: str | None = Field(None, description="revision of a model from the hub")
    dataset: str = Field("embedded", description="embedded, cnn_dailymail, or a file's path")
    num_samples: int = Field(0, ge=0, description="use the first N samples; 0 is all of them")
    dataset_sha256: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of MLCommons' file by your own download, beside those that are known",
    )
    instruction: str = Field(REFERENCE_INSTRUCTION, description="prompt, with {input}")
    chat_template: bool = Field(True, description="wrap the prompt as a chat turn")

    # Extra tests
    compliance: bool = Field(False, description="run compliance test TEST06 as well")
    sweep_qps: list[Rate] = Field([], description="a Server test at each of these rates, queries/s")
    sweep_concurrency: list[Annotated[int, Field(gt=0)]] = Field(
        [], description="an Offline test for each of these numbers of queries at once"
    )
    tune: dict[str, list[Any]] = Field(
        {}, description="parameters to vary one at a time, each with a list of values"
    )
    tune_accuracy: bool = Field(False, description="tune: score the answers of each value as well")
    repeats: int = Field(
        1,
        ge=1,
        le=100,
        description="make the performance test, and each of a sweep or a tuning, so often; from 3 "
        "on there is an interval between runs",
    )
    workers: Annotated[int, Field(ge=1, le=1000)] | str | None = Field(
        None,
        description="so many of these at once, each on GPUs of its own: a number, auto, or a Ray "
        "cluster's host:port; None: one after another",
    )
    compare_in_process: bool = Field(
        False, description="serve: make the performance test in process as well, side by side"
    )

    # What it costs, where it goes
    price_per_hour: float | None = Field(
        None, gt=0, description="of all that serves, in your currency: gives the price of tokens"
    )
    outputs: str = Field("outputs", description="folder of all runs")
    # The last of all: a recorded file without it was cut short.
    run_name: str = Field(
        "", description="name of this run's folder; empty: made from time and model"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _keep_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Text that papermill has made a number of is refused, unless its digits are the text."""
        assert info.field_name is not None
        return text_of(info.field_name, value, cls.model_fields[info.field_name].annotation)

    @field_validator("base_url", mode="before")
    @classmethod
    def _read_urls(cls, value: Any) -> Any:
        """One URL, or several; papermill's -p gives a list as text."""
        read = cls._read_text(value)
        return ([read] if read else []) if isinstance(read, str) else read

    @field_validator("sweep_qps", "sweep_concurrency", "tune", "engine_options", mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        """Papermill's -p gives a list or a mapping as text."""
        try:
            return plain_yaml(value) if isinstance(value, str) else value
        except KeyTwice:
            raise
        except ValueError:
            raise ValueError("is no list or mapping as YAML or JSON has them") from None

    @field_validator("workers")
    @classmethod
    def _read_workers(cls, value: int | str | None) -> int | str | None:
        """A number may come as text, as all of papermill's -p."""
        if not isinstance(value, str) or value == "auto" or CLUSTER.fullmatch(value):
            return value
        if not value.isdigit() or not 1 <= int(value) <= 1000:
            raise ValueError("is no number of workers from 1, no auto and no host:port")
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
        if self.target_qps == "auto" and self.scenario != "Server":
            problem = f"has no meaning in {self.scenario}: only Server has limits to search by"
            self._refuse("target_qps", problem, "give scenario Server, or a number")
        if list(self.rules.scenarios) == ["Server"] and self.scenario != "Server":
            problem = f"{self.benchmark} exists in the Server scenario only"
            self._refuse("scenario", problem, "give scenario Server, or another benchmark")
        if "{input}" not in self.instruction:
            cure = "put {input} where the article goes"
            self._refuse("instruction", "has no place for the article", cure)

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
        if self.engine == "openai" and self.side_by_side:
            cure = "leave it out, or tune the server's engine here (engine vllm)"
            self._refuse("workers", "would all ask the same server, and measure each other", cure)
        if self.compare_in_process and not self.serve:
            self._refuse("compare_in_process", "has nothing to compare with", "give serve as well")

    def _check_tuning(self) -> None:
        """Only what may be varied is, and each value would do as a parameter."""
        others = self.model_dump(exclude={"tune"})
        for name, values in self.tune.items():
            given = f"tune.{name}"
            tunable = TUNABLE_SERVED if self.engine == "openai" else TUNABLE
            if name not in tunable:
                cure = f"take one of {', '.join(tunable)}"
                problem = "cannot be varied within a run"
                raise ParameterError(given, values, problem, cure)
            for place, value in enumerate(values):
                if value in values[:place]:
                    cure = "give each value once"
                    raise ParameterError(given, values, "holds a value twice", cure)
                if value == "auto" and name == "target_qps":
                    problem = "is no rate to vary"
                    raise ParameterError(given, values, problem, "give numbers")
                try:
                    RunParams.from_dict(others | {name: value})
                except ParameterError as error:
                    cure = "give values that the parameter takes"
                    raise ParameterError(given, values, str(error), cure) from None

    @property
    def rules(self) -> Benchmark:
        """The benchmark whose rules apply."""
        return BENCHMARKS[self.benchmark]

    @property
    def side_by_side(self) -> bool:
        """Whether independent tests are made by workers, at once."""
        return self.workers not in (None, 1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        own = {ALIASES.get(name, name): value for name, value in values.items()}
        # Null in the record of a run against a server.
        return super().from_dict(
            {k: v for k, v in own.items() if v is not None or k not in OF_THE_SERVER}
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
        if next(reversed(cls.model_fields)) not in values:
            raise BenchmarkError(f"{path} was cut short. Run again.")
        return cls.from_dict(values)

    def known(self) -> dict[str, Any]:
        """All parameters as they are recorded: None for those of a server that runs already."""
        unknown = OF_THE_SERVER if self.engine == "openai" else ()
        return self.model_dump(mode="json") | dict.fromkeys(unknown)

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
    return read_file(path, _types())


def value_of(name: str, text: str) -> Any:
    """A parameter's value on a command line, not validated yet."""
    return value_in(text, _types().get(name, Any))


def _types() -> Types:
    """The types of all parameters; a server's may be null, as in the record of a run against it."""
    types: Types = {name: field.annotation for name, field in RunParams.model_fields.items()}
    return {**types, **{name: types[name] | None for name in OF_THE_SERVER}}


def by_group() -> dict[str, list[str]]:
    """The names of all parameters under their headings, in the order in which they are shown."""
    groups: dict[str, list[str]] = {title: [] for title in GROUPS.values()}
    title = ""
    for name in RunParams.model_fields:
        title = GROUPS.get(name, title)
        groups[title].append(name)
    return groups


def as_markdown() -> str:
    """All parameters with defaults and meanings: the table of params/README.md."""
    lines = ["| parameter | default | meaning |", "| --- | --- | --- |"]
    for title, names in by_group().items():
        lines.append(f"| **{title}** | | |")
        for name in names:
            field = RunParams.model_fields[name]
            default = "the reference's" if name == "instruction" else f"`{field.default}`"
            shown = "" if default == "``" else default
            lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines)
