"""One test: what LoadGen asks of which engine, typed and validated."""

import difflib
import ipaddress
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from vllm_loadgen.errors import ParameterError
from vllm_loadgen.redact import holds_secret
from vllm_loadgen.sampling import Sampling
from vllm_loadgen.traits import SCENARIOS, EngineTraits, Scenario, ScenarioTraits, engines

# vLLM's names of options that a parameter gives under another name.
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
# What is known of a parameter. Its field lists these; ``TestParams.names`` finds it by them.
Trait = Literal[
    "vllm",  # vLLM's AsyncEngineArgs has it under the same name
    "server",  # belongs to the server: not known of one that runs already (engine openai)
    "client",  # has a meaning with engine openai alone
    "devices",  # a factor of the number of devices
    "fixed",  # has one value in a run: decides the engine, the prompts or the answers
    "model",  # as "fixed", but compared by what it makes: the weights
    "samples",  # as "fixed", but compared by what it makes: the data
    "prompts",  # makes prompts of the data
    "answers",  # changes what is asked of the same prompts
    "performance",  # does not matter to an accuracy test
    "ignored",  # does not identify a test: cannot change its result, or a hash knows better
    "tunable",  # ``tune`` may vary it
    "shown",  # a row of the report's table of the configuration
    "place",  # where a run lies
]
VLLM: tuple[Trait, ...] = ("vllm", "server", "fixed", "tunable", "shown")  # nearly all its options


def option(group: str, default: Any, *traits: Trait, key: str = "", **constraints: Any) -> Any:
    """The field of a parameter, with all that is known of it; its docstring says what it means.

    Args:
        group: its heading in the table of all parameters.
        key: its name in LoadGen's user.conf, if that is another.
        constraints: as pydantic has them.
    """
    extra: JsonDict = {"group": group, "key": key, **dict.fromkeys(traits, True)}
    return Field(default, json_schema_extra=extra, **constraints)


def noted(field: FieldInfo) -> JsonDict:
    """What ``option`` has noted on a field."""
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}


LOADGEN, ENGINE = "How LoadGen asks", "The engine"
of_loadgen, of_engine = partial(option, LOADGEN), partial(option, ENGINE)


class TestParams(BaseModel):
    """Every parameter of a test, with its engine. ``None`` means LoadGen's own value for this
    benchmark, and the engine's own for its options.
    """

    __test__ = False  # pytest would take it for tests
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    benchmark: str = of_loadgen("llama3_1-8b", "shown")
    """official rules to compare with; it does not choose the model"""
    scenario: Scenario = of_loadgen("Server", "shown")
    """Offline, Server or SingleStream"""
    target_qps: Rate | Literal["auto", "measured"] = of_loadgen(
        0.5, "performance", "tunable", "shown"
    )
    """queries/s offered (Offline: expected); auto finds the highest VALID; measured takes a share
    of the accuracy test's batch rate, and tries one or two rates more"""
    target_latency_ms: float = of_loadgen(
        3000.0, "performance", "shown", key="target_latency", gt=0
    )
    """SingleStream: estimated latency, which sizes the test"""
    min_duration_ms: Milliseconds | None = of_loadgen(
        60_000, "performance", "shown", key="min_duration"
    )
    """minimum duration of a test, ms"""
    min_query_count: int | None = of_loadgen(64, "performance", "shown", gt=0, le=MOST_QUERIES)
    """minimum number of queries; LoadGen rounds up to whole passes over the samples (40 of 64
    samples makes 64), fewer with performance_samples"""
    performance_samples: int | None = of_loadgen(
        None, "performance", "answers", key="performance_sample_count_override", gt=0
    )
    """a performance test draws from the first N samples; None: the benchmark's number"""
    target_latency_percentile: float | None = of_loadgen(
        0.9, "performance", "shown", ge=0.01, le=0.9999
    )
    """Server: share of queries that must keep the limits"""
    ttft_limit_ms: Milliseconds | None = of_loadgen(None, "performance", key="ttft_latency")
    """Server: limit on TTFT, ms; None: the benchmark's"""
    tpot_limit_ms: Milliseconds | None = of_loadgen(None, "performance", key="tpot_latency")
    """Server: limit on TPOT, ms; None: the benchmark's"""
    max_new_tokens: int = of_loadgen(128, "fixed", "answers", "shown", ge=2)
    """longest answer, tokens"""
    min_new_tokens: int = of_loadgen(1, "fixed", "answers", ge=1)
    """shortest answer, tokens"""
    temperature: float = of_loadgen(0.0, "fixed", "answers", ge=0, le=2)
    """0: greedy, the likeliest token always; above: tokens are sampled"""
    top_p: float = of_loadgen(1.0, "fixed", "answers", gt=0, le=1)
    """sample from the likeliest tokens of this total probability"""
    top_k: int = of_loadgen(0, "fixed", "answers", ge=0)
    """sample from the K likeliest tokens; 0: from all"""
    sampling_seed: int | None = of_loadgen(42, "fixed", ge=0)
    """seed from which each query's own is derived; None: no query is seeded (vLLM then draws for
    a whole batch at once), and no run can be repeated"""
    concurrency: int | None = of_loadgen(None, "tunable", gt=0)
    """most queries that the harness gives to the engine at once"""
    longest_first: bool = of_loadgen(False, "tunable")
    """Offline: long prompts first, pass by pass"""
    warmup_queries: int = of_loadgen(4, "performance", ge=0, le=100_000)
    """queries before the clock starts, at least"""
    warmup_max_s: float = of_loadgen(20.0, "performance", ge=0, le=86_400)
    """time budget of further rounds, s; they end when two at the test's batch size agree; 0: no
    further ones"""

    engine: str = of_engine("vllm", "fixed")
    """vllm (in process), openai (a server that runs already), or echo (fake answers, to test the
    harness)"""
    base_url: list[str] = of_engine([], "client", "fixed", "shown")
    """openai: the server's URL, or a list of several that share the queries"""
    served_model: str = of_engine("", "client", "fixed", "shown")
    """openai: the server's name for the model; empty: its only one"""
    serve: bool = of_engine(False, "fixed")
    """vllm: start vllm serve with these options, and measure it over HTTP"""
    chat_template: bool = of_engine(True, "prompts", "fixed", "ignored")
    """whether the prompts are wrapped as a chat turn; a server that has /v1/chat/completions alone
    wraps them itself, and takes only prompts without"""
    trust_remote_code: bool = of_engine(False, "vllm", "fixed", "shown")
    """run code from the checkpoint: tokenizer, configuration, model"""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = of_engine(
        "auto", "vllm", "server", "model", "tunable", "shown"
    )
    """type of weights and activations; auto: the model's own, float32 where a CPU has no hardware
    for it"""
    max_model_len: int = of_engine(2048, "vllm", "fixed", "tunable", "shown", gt=0)
    """longest prompt plus answer, tokens"""
    tensor_parallel_size: int = of_engine(1, *VLLM, "devices", gt=0)
    """GPUs that share each layer"""
    pipeline_parallel_size: int = of_engine(1, *VLLM, "devices", gt=0)
    """groups of such GPUs in a row, each with a part of the layers"""
    data_parallel_size: int = of_engine(1, *VLLM, "devices", gt=0)
    """replicas of the model, each on GPUs of its own, that share the queries"""
    executor: Literal["mp", "ray", "uni"] | None = of_engine(
        None, "server", "fixed", "tunable", "shown"
    )
    """where an engine's parts run: mp (processes here), ray (over several machines), uni (one
    process); None: vLLM's choice"""
    gpu_memory_utilization: float = of_engine(0.9, "vllm", "server", "fixed", "tunable", gt=0, le=1)
    """share of GPU memory"""
    cpu_kv_cache_gib: int = of_engine(2, "server", "fixed", "tunable", gt=0)
    """KV cache on a CPU, GiB"""
    cpu_reserved_cores: int | None = of_engine(None, "server", "fixed", "tunable", ge=0)
    """cores that vLLM's threads leave free on a CPU"""
    max_num_seqs: int | None = of_engine(None, *VLLM, gt=0)
    """most queries that vLLM puts into one batch"""
    max_num_batched_tokens: int | None = of_engine(None, *VLLM, gt=0)
    """most tokens that vLLM computes in one step"""
    enforce_eager: bool | None = of_engine(None, *VLLM)
    """True skips compilation: starts faster, runs slower"""
    kv_cache_dtype: str = of_engine("auto", *VLLM)
    """type of the KV cache: auto, fp8, ..."""
    quantization: str | None = of_engine(None, *VLLM)
    """quantization of the weights: fp8, awq, ..."""
    load_format: str = of_engine("auto", *VLLM)
    """how weights are loaded: auto, or dummy for random ones (timing only)"""
    enable_prefix_caching: bool = of_engine(False, *VLLM)
    """reuse the KV cache of equal prompt starts; MLPerf forbids it"""
    engine_options: dict[str, Any] = of_engine({}, "server", "fixed", "tunable", "shown")
    """other options of vLLM's EngineArgs"""
    seed: int = of_engine(0, "vllm", "server", "fixed", ge=0)
    """seed of the engine"""
    load_timeout_s: int = of_engine(7200, "ignored", gt=0)
    """timeout for loading the engine, s"""
    stall_timeout_s: int = of_engine(600, "ignored", gt=0)
    """timeout for an engine that owes answers and makes no token, s; if it reports neither steps
    nor a stream, give more than its longest answer takes"""

    @field_validator("base_url", mode="before")
    @classmethod
    def _list_of_urls(cls, value: Any) -> Any:
        return ([value] if value else []) if isinstance(value, str) else value

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

    @field_validator("engine")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in engines():
            raise ValueError(f"is none of {', '.join(engines())}")
        return value

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
        for name, unset in (("top_p", 1), ("top_k", 0)):
            if self.temperature == 0 and getattr(self, name) != unset:
                cure = "give a temperature above 0, or leave it out"
                self._refuse(name, "has no effect with temperature 0, which is greedy", cure)
        if self.scenario_traits.one_by_one:
            self._check_rate("target_latency_ms", 1000 / self.target_latency_ms)
        elif not isinstance(self.target_qps, str):
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
        started_here = self.engine_traits.started_here
        if not started_here and not self.base_url:
            self._refuse("base_url", "names no server", "give one, as in http://host:8000")
        for name in self.unknown:
            if getattr(self, name) != (default := type(self).model_fields[name].default):
                cure = f"leave it out (default {default!r}), and start the server with it"
                self._refuse(name, "belongs to the server, which runs already", cure)
        for name in self.names("client"):
            if started_here and getattr(self, name):
                problem = f"has no meaning with engine {self.engine}"
                self._refuse(name, problem, "give engine openai, or leave it out")
        if self.serve and engines()[self.engine].served is None:
            self._refuse("serve", f"starts no {self.engine}", "give engine vllm, or leave it out")

    @classmethod
    def names(cls, *traits: Trait) -> list[str]:
        """The parameters of which one of these traits holds; all of them without a trait."""
        fields = cls.model_fields.items()
        return [name for name, field in fields if not traits or noted(field).keys() & {*traits}]

    @classmethod
    def meaning(cls, name: str) -> str:
        """What a parameter means, as one line."""
        return " ".join((cls.model_fields[name].description or "").split())

    @property
    def sampling(self) -> Sampling:
        """How the next token is chosen."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.sampling_seed)

    @property
    def engine_traits(self) -> EngineTraits:
        """What is known of the engine before it is loaded."""
        own = engines()[self.engine]
        return own.served if self.serve and own.served else own

    @property
    def scenario_traits(self) -> ScenarioTraits:
        """How LoadGen issues queries and judges them."""
        return SCENARIOS[self.scenario]

    @property
    def unknown(self) -> list[str]:
        """The parameters that a server which runs already has set for itself."""
        return [] if self.engine_traits.started_here else self.names("server")

    @property
    def devices(self) -> int:
        """GPUs that the engine takes, on all machines."""
        return math.prod(getattr(self, name) for name in self.names("devices"))

    @property
    def here(self) -> bool:
        """Whether the engine runs on this machine, by its URLs."""
        return all(is_loopback(url) for url in self.base_url)

    @property
    def rate(self) -> float:
        """``target_qps`` as a number.

        Raises:
            ParameterError: while it is a word.
        """
        if isinstance(self.target_qps, str):
            self._refuse("target_qps", "is not a rate to run a test at", "search for it first")
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
        suspect = holds_secret(dict(values))  # all at once: the environment is read each time
        for name, value in values.items():
            if suspect and holds_secret(value):
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
            cure = f"it is: {cls.meaning(name)}"
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
        return "holds an invalid URL"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\]", url):
        return "holds an invalid URL: write it as http://host:8000"
    if parts.query or parts.fragment:
        return "holds a ? or a #: give the server's address alone"
    return ""
