"""What a run is: typed, validated, and read from YAML or from a notebook's parameters cell."""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vllm_loadgen.benchmarks import BENCHMARKS, REFERENCE_INSTRUCTION, SCENARIOS, Benchmark
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.parameter_files import (
    ALIASES,
    KeyTwice,
    kinds,
    plain_yaml,
    read_file,
    takes_text,
    value_in,
)
from vllm_loadgen.redact import holds_secret

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
# What only an engine of ours obeys. Such a server has its own, which is not read: "not known".
OF_THE_SERVER = (
    "dtype", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "executor",
    "gpu_memory_utilization", "cpu_kv_cache_gib", "cpu_reserved_cores",
    "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "kv_cache_dtype",
    "quantization", "load_format", "enable_prefix_caching", "engine_options", "seed",
)  # fmt: skip
NOT_KNOWN = "not known"
# Options of vLLM's that a parameter gives under another name.
GIVEN_BY = {"distributed_executor_backend": "executor", "data_parallel_backend": "executor"}
# What older runs have among their engine options.
MOVED = ("pipeline_parallel_size", "data_parallel_size", "executor", "trust_remote_code")
# What a run has in place of a host's name, once it was cleaned to be given away (``share.clean``).
CLEANED = "[host]"
# LoadGen plans a test's queries before it starts, 72 bytes each here, and no system needs more.
MOST_QUERIES = 50_000_000
OFFICIAL_DURATION_MS = 600_000  # of all benchmarks here, in LoadGen's mlperf.conf
Rate = Annotated[float, Field(gt=0, le=1_000_000)]
Milliseconds = Annotated[int, Field(gt=0, le=10**9)]  # LoadGen counts ns in 64 bits
# A Ray cluster: of a driver beside it, or (ray://) of a client.
CLUSTER = re.compile(r"(ray://)?[\w.-]+:\d{1,5}")
# What a run's name may be: it is a folder's name, and stands in reports.
PLAIN_NAME = re.compile(r"[\w.+-]([\w .+-]*[\w.+-])?")
# Headings of the parameters, by the first of each group.
GROUPS = {
    "model": "What is measured", "benchmark": "How LoadGen asks", "sweep_qps": "Extra tests",
    "engine": "The engine", "outputs": "Where it goes",
}  # fmt: skip
TEXT_CURE = "papermill keeps text with -r NAME VALUE; in a file or a cell put it into quotes"
# What a server's address may end in, from its documentation or from another client.
ENDPOINT = re.compile(
    r"(/+inference/+v1/+generate|/+v1(/+(completions|chat/+completions|models))?)?/*$"
)


class RunParams(BaseModel):
    """Every parameter of a run, flat, so that papermill's ``-p`` reaches each of them.

    The defaults are the embedded job on a CPU and equal ``params/cpu.yaml``. ``None`` means
    "the benchmark's own value" for LoadGen settings and "the engine's own" for engine options.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    # What is measured
    model: str = Field(
        "smollm2-135m-instruct", description="the embedded model's name, a folder, or a hub id"
    )
    model_revision: str | None = Field(None, description="revision of a model from the hub")
    trust_remote_code: bool = Field(
        False,
        description="run code that the checkpoint brings along: tokenizer, configuration, model",
    )
    dataset: str = Field("embedded", description="embedded, cnn_dailymail, or a file's path")
    num_samples: int = Field(0, ge=0, description="use the first N samples; 0 is all of them")
    dataset_sha256: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of MLCommons' file by your own download, beside those that are known",
    )
    instruction: str = Field(REFERENCE_INSTRUCTION, description="prompt, with {input}")
    chat_template: bool = Field(True, description="wrap the prompt as a chat turn")
    max_new_tokens: int = Field(128, ge=2, description="longest answer, tokens")
    min_new_tokens: int = Field(1, ge=1, description="shortest answer, tokens")

    # How LoadGen asks
    benchmark: str = Field(
        "llama3_1-8b", description="official rules to compare with; it does not choose the model"
    )
    scenario: Literal["Offline", "Server", "SingleStream"] = Field(
        "Server", description="Offline, Server or SingleStream"
    )
    target_qps: Rate | Literal["auto"] = Field(
        0.5, description="queries/s offered (Offline: expected); auto finds the highest VALID"
    )
    target_latency_ms: float = Field(
        3000.0, gt=0, description="SingleStream: estimated latency, which sizes the test"
    )
    min_duration_ms: Milliseconds | None = Field(
        60_000, description="minimum duration of a test, ms"
    )
    min_query_count: int | None = Field(
        64,
        gt=0,
        le=MOST_QUERIES,
        description="minimum number of queries; LoadGen rounds up to whole passes over the samples "
        "(40 of 64 samples makes 64), fewer with performance_samples",
    )
    performance_samples: int | None = Field(
        None,
        gt=0,
        description="a performance test draws from the first N samples; None: the benchmark's",
    )
    target_latency_percentile: float | None = Field(
        0.9, ge=0.01, le=0.9999, description="Server: share of queries that must keep the limits"
    )
    ttft_limit_ms: Milliseconds | None = Field(
        None, description="Server: limit on first tokens, ms"
    )
    tpot_limit_ms: Milliseconds | None = Field(
        None, description="Server: limit per output token, ms"
    )
    concurrency: int | None = Field(
        None, gt=0, description="most queries that the harness gives to the engine at once"
    )
    longest_first: bool = Field(False, description="Offline: long prompts first, pass by pass")
    warmup_queries: int = Field(
        4, ge=0, le=100_000, description="queries before the clock starts, at least"
    )
    warmup_max_s: float = Field(
        20.0,
        ge=0,
        le=86_400,
        description="more of them, until the batch that the test will reach is equally fast twice, "
        "within so many seconds; 0: no more",
    )
    compliance: bool = Field(False, description="run compliance test TEST06 as well")

    # Extra tests
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

    # The engine
    engine: Literal["vllm", "openai", "echo"] = Field(
        "vllm",
        description="vllm (in process), openai (a server that runs already), or echo (fake "
        "answers, to test the harness)",
    )
    base_url: list[str] = Field(
        [], description="openai: the server's URL, or a list of several that share the queries"
    )
    served_model: str = Field(
        "", description="openai: what the server calls the model; empty: the only one it has"
    )
    serve: bool = Field(
        False, description="vllm: start vllm serve with these options, and measure it over HTTP"
    )
    compare_in_process: bool = Field(
        False, description="serve: make the performance test in process as well, side by side"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="type of weights and activations; auto: the model's own, float32 where a CPU "
        "has no hardware for it",
    )
    max_model_len: int = Field(2048, gt=0, description="longest prompt plus answer, tokens")
    tensor_parallel_size: int = Field(1, gt=0, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(
        1, gt=0, description="groups of such GPUs in a row, each with a part of the layers"
    )
    data_parallel_size: int = Field(
        1, gt=0, description="replicas of all that, each on GPUs of its own, that share the queries"
    )
    executor: Literal["mp", "ray", "uni"] | None = Field(
        None,
        description="where an engine's parts run: mp (processes here), ray (over several "
        "machines), uni (one process); None: vLLM's choice",
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory")
    cpu_kv_cache_gib: int = Field(2, gt=0, description="KV cache on a CPU, GiB")
    cpu_reserved_cores: int | None = Field(
        None, ge=0, description="cores that vLLM's threads leave free on a CPU"
    )
    max_num_seqs: int | None = Field(
        None, gt=0, description="most queries that vLLM puts into one batch"
    )
    max_num_batched_tokens: int | None = Field(
        None, gt=0, description="most tokens that vLLM computes in one step"
    )
    enforce_eager: bool | None = Field(
        None, description="True leaves compilation out: starts faster, runs slower"
    )
    kv_cache_dtype: str = Field("auto", description="type of the KV cache: auto, fp8, ...")
    quantization: str | None = Field(None, description="quantization of the weights: fp8, awq, ...")
    load_format: str = Field(
        "auto", description="how weights are loaded: auto, or dummy for random ones (timing only)"
    )
    enable_prefix_caching: bool = Field(
        False, description="reuse the KV cache of equal prompt starts; MLPerf forbids it"
    )
    engine_options: dict[str, Any] = Field({}, description="other options of vLLM's EngineArgs")
    seed: int = Field(0, ge=0, description="seed of the engine")
    load_timeout_s: int = Field(
        7200, gt=0, description="an engine that loads for longer is dead, s"
    )
    stall_timeout_s: int = Field(
        600, gt=0, description="an engine that owes answers and gives none for so long is dead, s"
    )
    price_per_hour: float | None = Field(
        None, gt=0, description="of all that serves, in your currency: gives the price of tokens"
    )

    # Where it goes
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

    @field_validator("base_url")
    @classmethod
    def _plain_urls(cls, urls: list[str]) -> list[str]:
        """Without the paths that clients of OpenAI's append; each once."""
        plain = [ENDPOINT.sub("", url) for url in urls]
        named = [url for url in plain if CLEANED not in url]
        for url in named:
            if "@" in url:  # the value may be a password, which no message shows
                cure = "leave it out; a key goes into OPENAI_API_KEY in the environment"
                raise ParameterError("base_url", "[secret]", "holds a user or a password", cure)
            if problem := _url_problem(url):
                raise ValueError(problem)
        if len(set(named)) < len(named):
            raise ValueError("holds a URL twice")
        return plain

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

    @field_validator("scenario", mode="before")
    @classmethod
    def _spell_scenario(cls, value: Any) -> Any:
        by_lower = {name.lower(): name for name in SCENARIOS}
        return by_lower.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> "RunParams":
        self._check_questions()
        self._check_names()
        self._check_options()
        self._check_server()
        self._check_tuning()
        return self

    def _refuse(self, name: str, problem: str, cure: str) -> NoReturn:
        raise ParameterError(name, getattr(self, name), problem, cure)

    def _check_questions(self) -> None:
        """What LoadGen is to ask fits together."""
        if self.benchmark not in BENCHMARKS:
            self._refuse("benchmark", "is not known", f"give one of {', '.join(BENCHMARKS)}")
        if self.min_new_tokens > self.max_new_tokens:
            problem = f"is above max_new_tokens = {self.max_new_tokens}"
            self._refuse("min_new_tokens", problem, "give a number up to max_new_tokens")
        if self.target_qps == "auto" and self.scenario != "Server":
            problem = f"has no meaning in {self.scenario}: only Server has limits to search by"
            self._refuse("target_qps", problem, "give scenario Server, or a number")
        if list(self.rules.scenarios) == ["Server"] and self.scenario != "Server":
            problem = f"{self.benchmark} exists in the Server scenario only"
            self._refuse("scenario", problem, "give scenario Server, or another benchmark")
        by_latency = self.scenario == "SingleStream"
        rate = 1000 / self.target_latency_ms if by_latency else self.target_qps
        for each in [rate, *self.sweep_qps]:
            seconds = (self.min_duration_ms or OFFICIAL_DURATION_MS) / 1000
            if each != "auto" and each * seconds > MOST_QUERIES:
                name = "target_latency_ms" if by_latency else "target_qps"
                problem = f"comes to {each * seconds:.3g} queries in min_duration_ms"
                cure = f"stay under {MOST_QUERIES:,}: lower the rate or min_duration_ms"
                self._refuse(name, problem, cure)
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

    def _check_options(self) -> None:
        """No parameter is given twice."""
        for name, value in self.engine_options.items():
            given = f"engine_options.{name}"
            if (own := GIVEN_BY.get(name, name)) in RunParams.model_fields:
                raise ParameterError(given, value, "is a parameter of its own", f"give {own}")
            if name == "hf_token":
                problem = "would be recorded with the run"
                cure = "set HF_TOKEN in the environment"
                raise ParameterError(given, "[secret]", problem, cure)

    def _check_server(self) -> None:
        """What is asked over HTTP: a server that runs, or one that is started here."""
        if self.engine == "openai":
            if not self.base_url:
                self._refuse("base_url", "names no server", "give one, as in http://host:8000")
            for name in OF_THE_SERVER:
                if getattr(self, name) != (default := RunParams.model_fields[name].default):
                    cure = f"leave it out (default {default!r}), and start the server with it"
                    self._refuse(name, "belongs to the server, which runs already", cure)
        if self.engine == "openai" and self.side_by_side:
            cure = "leave it out, or tune the server's engine here (engine vllm)"
            self._refuse("workers", "would all ask the same server, and measure each other", cure)
        for name in ("base_url", "served_model"):
            if self.engine != "openai" and getattr(self, name):
                problem = f"has no meaning with engine {self.engine}"
                self._refuse(name, problem, "give engine openai, or leave it out")
        if self.serve and self.engine != "vllm":
            self._refuse("serve", f"starts no {self.engine}", "give engine vllm, or leave it out")
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

    @property
    def devices(self) -> int:
        """GPUs that the engine takes, on all machines."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def here(self) -> bool:
        """Whether the engine runs on this machine, as far as the URLs tell."""
        return all(is_loopback(url) for url in self.base_url)

    @property
    def rate(self) -> float:
        """``target_qps`` as a number.

        Raises:
            ParameterError: while it is "auto".
        """
        if self.target_qps == "auto":
            self._refuse("target_qps", "is no rate to run a test at", "search for it first")
        return self.target_qps

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunParams":
        """Validate ``values``.

        Raises:
            ParameterError: for the first parameter that is unknown or cannot be used.
        """
        values = {ALIASES.get(name, name): value for name, value in values.items()}
        # Null in the record of a run against a server.
        values = {k: v for k, v in values.items() if v is not None or k not in OF_THE_SERVER}
        for name, value in values.items():
            if holds_secret(value):
                cure = "leave secrets in the environment, where they are used from"
                raise ParameterError(name, "[secret]", "would be recorded with the run", cure)
            if name not in cls.model_fields:
                close = difflib.get_close_matches(name, cls.model_fields, n=1) or [
                    known for known in cls.model_fields if name in known.split("_")
                ]
                cure = f"did you mean {close[0]}?" if close else "params/README.md has all of them"
                raise ParameterError(name, value, "is not a parameter", cure)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            cure = f"it is: {cls.model_fields[name].description}"
            problem = first["msg"].removeprefix("Value error, ")
            raise ParameterError(name, values.get(name), problem, cure) from None

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: object) -> "RunParams":
        """Read a parameters file; ``overrides`` win over it.

        Raises:
            ParameterError: if the file cannot be read or holds a bad parameter.
        """
        return cls.from_dict({**read_yaml(path), **overrides})

    @classmethod
    def recorded(cls, path: Path) -> "RunParams":
        """What a run wrote down, which holds every parameter, the last of them last.

        Raises:
            BenchmarkError: if the file was cut short: what is missing is not a default.
        """
        values = read_yaml(path)
        if next(reversed(cls.model_fields)) not in values:
            raise BenchmarkError(f"{path} was cut short. Run again.")
        return cls.from_dict(_with_own_names(values))

    def known(self) -> dict[str, Any]:
        """All parameters as they are recorded: None for those of a server that runs already."""
        unknown = OF_THE_SERVER if self.engine == "openai" else ()
        return self.model_dump(mode="json") | dict.fromkeys(unknown)

    def to_yaml(self) -> str:
        """All parameters as YAML text that ``from_yaml`` reads back."""
        return str(yaml.safe_dump(self.known(), sort_keys=False, width=100))

    def changed(self, **overrides: object) -> "RunParams":
        """These parameters with some replaced, validated again."""
        return self.from_dict({**self.model_dump(), **overrides})


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


def _with_own_names(values: dict[str, Any]) -> dict[str, Any]:
    """Parameters that were engine options when they were written down."""
    options = values.get("engine_options")
    if not isinstance(options, dict):
        return values
    left, moved = dict(options), {}
    for name in options:
        if (own := GIVEN_BY.get(name, name)) in MOVED:
            moved[own] = left.pop(name)
    return values | moved | {"engine_options": left}


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url_problem(url: str) -> str:
    """Why a URL names no server; nothing if it does."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "holds what is no URL"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\]", url):
        return "holds what is no URL of the form http://host:8000"
    if parts.query or parts.fragment:
        return "holds a ? or a #: give the server's address alone"
    return ""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The parameters in a YAML file, not validated yet.

    Raises:
        ParameterError: if there is no such file or it is not a mapping.
    """
    types = {name: one.annotation for name, one in RunParams.model_fields.items()}
    return _without_the_servers(read_file(path, types))


def _without_the_servers(values: dict[str, Any]) -> dict[str, Any]:
    """The record of a run against a server, without the server's own parameters.

    Older records have this project's defaults for them, newer ones null.
    """
    is_record = len(values) > len(RunParams.model_fields) // 2  # no user writes so many
    if values.get("engine") != "openai" or not is_record:
        return values
    return {name: value for name, value in values.items() if name not in OF_THE_SERVER}


def value_of(name: str, text: str) -> Any:
    """A parameter's value on a command line, not validated yet."""
    field = RunParams.model_fields.get(name)
    return value_in(text, field.annotation if field is not None else Any)


def as_markdown() -> str:
    """All parameters with defaults and meanings: the table of params/README.md."""
    lines = ["| parameter | default | meaning |", "| --- | --- | --- |"]
    for name, field in RunParams.model_fields.items():
        if name in GROUPS:
            lines.append(f"| **{GROUPS[name]}** | | |")
        default = "the reference's" if name == "instruction" else f"`{field.default}`"
        lines.append(f"| `{name}` | {'' if default == '``' else default} | {field.description} |")
    return "\n".join(lines)
