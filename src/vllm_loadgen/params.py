"""One test: what LoadGen asks of which engine, typed and validated."""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vllm_loadgen.errors import ParameterError
from vllm_loadgen.redact import holds_secret

# LoadGen's scenarios that the harness drives.
SCENARIOS = ("Offline", "Server", "SingleStream")
# What only an engine of ours obeys. Such a server has its own, which is not read: "not known".
OF_THE_SERVER = (
    "dtype", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "executor",
    "gpu_memory_utilization", "cpu_kv_cache_gib", "cpu_reserved_cores",
    "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "kv_cache_dtype",
    "quantization", "load_format", "enable_prefix_caching", "engine_options", "seed",
)  # fmt: skip
# Options of vLLM's that a parameter gives under another name.
GIVEN_BY = {"distributed_executor_backend": "executor", "data_parallel_backend": "executor"}
# What a run has in place of a host's name, once it was cleaned to be given away (``share.clean``).
CLEANED = "[host]"
# LoadGen plans a test's queries before it starts, 72 bytes each here, and no system needs more.
MOST_QUERIES = 50_000_000
OFFICIAL_DURATION_MS = 600_000  # of all benchmarks here, in LoadGen's mlperf.conf
Rate = Annotated[float, Field(gt=0, le=1_000_000)]
Milliseconds = Annotated[int, Field(gt=0, le=10**9)]  # LoadGen counts ns in 64 bits
# What a server's address may end in, from its documentation or from another client.
ENDPOINT = re.compile(
    r"(/+inference/+v1/+generate|/+v1(/+(completions|chat/+completions|models))?)?/*$"
)


class TestParams(BaseModel):
    """Every parameter of a test, with its engine. ``None`` means LoadGen's own value for this
    benchmark, and the engine's own for its options.
    """

    __test__ = False  # pytest would take it for tests
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

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
    max_new_tokens: int = Field(128, ge=2, description="longest answer, tokens")
    min_new_tokens: int = Field(1, ge=1, description="shortest answer, tokens")
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
    trust_remote_code: bool = Field(
        False,
        description="run code that the checkpoint brings along: tokenizer, configuration, model",
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

    @field_validator("scenario", mode="before")
    @classmethod
    def _spell_scenario(cls, value: Any) -> Any:
        by_lower = {name.lower(): name for name in SCENARIOS}
        return by_lower.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._check_questions()
        self._check_options()
        self._check_server()
        return self

    def _refuse(self, name: str, problem: str, cure: str) -> NoReturn:
        raise ParameterError(name, getattr(self, name), problem, cure)

    def _check_questions(self) -> None:
        """What LoadGen is to ask fits together."""
        if self.min_new_tokens > self.max_new_tokens:
            problem = f"is above max_new_tokens = {self.max_new_tokens}"
            self._refuse("min_new_tokens", problem, "give a number up to max_new_tokens")
        if self.scenario == "SingleStream":
            self._check_rate("target_latency_ms", 1000 / self.target_latency_ms)
        elif self.target_qps != "auto":
            self._check_rate("target_qps", self.target_qps)

    def _check_rate(self, name: str, rate: float) -> None:
        """LoadGen plans all queries of a test before it starts."""
        queries = rate * (self.min_duration_ms or OFFICIAL_DURATION_MS) / 1000
        if queries > MOST_QUERIES:
            problem = f"comes to {queries:.3g} queries in min_duration_ms"
            cure = f"stay under {MOST_QUERIES:,}: lower the rate or min_duration_ms"
            self._refuse(name, problem, cure)

    def _check_options(self) -> None:
        """No parameter is given twice."""
        for name, value in self.engine_options.items():
            given = f"engine_options.{name}"
            if (own := GIVEN_BY.get(name, name)) in type(self).model_fields:
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
                if getattr(self, name) != (default := type(self).model_fields[name].default):
                    cure = f"leave it out (default {default!r}), and start the server with it"
                    self._refuse(name, "belongs to the server, which runs already", cure)
        for name in ("base_url", "served_model"):
            if self.engine != "openai" and getattr(self, name):
                problem = f"has no meaning with engine {self.engine}"
                self._refuse(name, problem, "give engine openai, or leave it out")
        if self.serve and self.engine != "vllm":
            self._refuse("serve", f"starts no {self.engine}", "give engine vllm, or leave it out")

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
    def of(cls, params: "TestParams") -> "TestParams":
        """The parameters of a test alone, out of those of a study."""
        return TestParams(**{name: getattr(params, name) for name in TestParams.model_fields})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Validate ``values``.

        Raises:
            ParameterError: for the first parameter that is unknown or cannot be used.
        """
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

    def changed(self, **overrides: object) -> Self:
        """These parameters with some replaced, validated again."""
        return self.from_dict({**self.model_dump(), **overrides})


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
