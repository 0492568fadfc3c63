"""What a run is: typed, validated, and read from YAML or from a notebook's parameters cell."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vllm_loadgen.errors import ParameterError

# The prompt of MLCommons' llama3.1-8b task (mlcommons/inference, language/llama3.1-8b).
REFERENCE_INSTRUCTION = (
    "Summarize the following news article in 128 tokens. Please output the summary only, "
    "without any other text.\n\nArticle:\n{input}\n\nSummary:"
)
SCENARIOS = ("Offline", "Server", "SingleStream")
BENCHMARKS = ("llama3_1-8b", "llama3_1-8b-interactive", "llama3_1-8b-edge")
# What ``tune`` may vary: the data and the prompts stay.
TUNABLE = (
    "target_qps", "concurrency", "longest_first", "dtype", "max_model_len",
    "tensor_parallel_size", "gpu_memory_utilization", "cpu_kv_cache_gib",
    "cpu_reserved_cores", "max_num_seqs", "max_num_batched_tokens", "enforce_eager",
    "kv_cache_dtype", "quantization", "load_format", "enable_prefix_caching", "engine_options",
)  # fmt: skip
# What LoadGen's user.conf calls a parameter that carries its unit here.
ALIASES = {"min_duration": "min_duration_ms", "target_latency": "target_latency_ms"}


class RunParams(BaseModel):
    """Every parameter of a run, flat, so that papermill's ``-p`` reaches each of them.

    The defaults are the embedded job on a CPU and equal ``params/cpu.yaml``. ``None`` means
    "the benchmark's own value" for LoadGen settings and "the engine's own" for engine options.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    # What is measured
    model: str = Field("smollm2-135m-instruct", description="embedded name, folder or hub id")
    model_revision: str | None = Field(None, description="revision of a model from the hub")
    dataset: str = Field("embedded", description="embedded, cnn_dailymail, or a file")
    num_samples: int = Field(0, ge=0, description="use the first N samples; 0 is all of them")
    instruction: str = Field(REFERENCE_INSTRUCTION, description="prompt, with {input}")
    chat_template: Literal["on", "off"] = Field("on", description="wrap the prompt as a chat turn")
    max_new_tokens: int = Field(128, ge=2, description="longest answer, tokens")
    min_new_tokens: int = Field(1, ge=1, description="shortest answer, tokens")

    # How LoadGen asks
    benchmark: Literal["llama3_1-8b", "llama3_1-8b-interactive", "llama3_1-8b-edge"] = Field(
        "llama3_1-8b", description="whose official settings apply"
    )
    scenario: Literal["Offline", "Server", "SingleStream"] = Field(
        "Server", description="Offline, Server or SingleStream"
    )
    target_qps: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        0.5, description="queries/s offered (Offline: expected); auto finds the highest VALID"
    )
    target_latency_ms: float = Field(3000.0, gt=0, description="SingleStream: expected latency")
    min_duration_ms: int | None = Field(60_000, gt=0, description="shortest test, ms")
    min_query_count: int | None = Field(64, gt=0, description="fewest queries")
    target_latency_percentile: float | None = Field(
        0.9, gt=0, lt=1, description="Server: share of queries that must keep the limits"
    )
    ttft_limit_ms: int | None = Field(None, gt=0, description="Server: limit on first tokens, ms")
    tpot_limit_ms: int | None = Field(None, gt=0, description="Server: limit per output token, ms")
    concurrency: int | None = Field(None, gt=0, description="most queries in the engine at once")
    longest_first: bool = Field(False, description="Offline: long prompts first, pass by pass")
    warmup_queries: int = Field(4, ge=0, description="queries before the clock starts")
    compliance: bool = Field(False, description="run compliance test TEST06 as well")

    # What is asked besides
    sweep_qps: list[Annotated[float, Field(gt=0)]] = Field([], description="a test at each rate")
    sweep_concurrency: list[Annotated[int, Field(gt=0)]] = Field(
        [], description="an Offline test with so many queries at once, each"
    )
    tune: dict[str, list[Any]] = Field({}, description="parameters to vary one at a time, values")
    tune_accuracy: bool = Field(False, description="score the answers of each of those as well")

    # The engine
    engine: Literal["vllm", "echo"] = Field("vllm", description="echo answers without a model")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "bfloat16", description="type of weights and activations"
    )
    max_model_len: int = Field(2048, gt=0, description="longest prompt plus answer, tokens")
    tensor_parallel_size: int = Field(1, gt=0, description="GPUs that share a model")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory")
    cpu_kv_cache_gib: int = Field(2, gt=0, description="KV cache on a CPU, GiB")
    cpu_reserved_cores: int | None = Field(
        None, ge=0, description="cores that vLLM's threads leave free on a CPU"
    )
    max_num_seqs: int | None = Field(None, gt=0, description="most queries in one batch")
    max_num_batched_tokens: int | None = Field(None, gt=0, description="most tokens a step")
    enforce_eager: bool | None = Field(None, description="no compilation: starts faster")
    kv_cache_dtype: str = Field("auto", description="auto, fp8, ...")
    quantization: str | None = Field(None, description="fp8, awq, ...")
    load_format: str = Field("auto", description="dummy: random weights, for timing only")
    enable_prefix_caching: bool = Field(False, description="on breaks the rules of MLPerf")
    engine_options: dict[str, Any] = Field({}, description="other options of vLLM's EngineArgs")
    seed: int = Field(0, ge=0, description="seed of the engine")

    # Where it goes
    outputs: str = Field("outputs", description="folder of all runs")
    run_name: str = Field("", description="folder of this run; empty: made from time and model")

    @field_validator("sweep_qps", "sweep_concurrency", "tune", "engine_options", mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        """Papermill's -p gives a list or a mapping as text."""
        return yaml.safe_load(value) if isinstance(value, str) else value

    @field_validator("scenario", mode="before")
    @classmethod
    def _spell_scenario(cls, value: Any) -> Any:
        by_lower = {name.lower(): name for name in SCENARIOS}
        return by_lower.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> "RunParams":
        if self.min_new_tokens > self.max_new_tokens:
            raise ParameterError(
                "min_new_tokens",
                self.min_new_tokens,
                f"is above max_new_tokens = {self.max_new_tokens}",
                "give a number up to max_new_tokens",
            )
        if self.target_qps == "auto" and self.scenario != "Server":
            raise ParameterError(
                "target_qps",
                "auto",
                f"has no meaning in {self.scenario}: only Server has limits to search by",
                "give scenario Server, or a number",
            )
        for name in self.tune:
            if name not in TUNABLE:
                raise ParameterError(
                    f"tune.{name}",
                    self.tune[name],
                    "cannot be varied within a run",
                    f"take one of {', '.join(TUNABLE)}",
                )
        if "{input}" not in self.instruction:
            raise ParameterError(
                "instruction",
                self.instruction,
                "has no place for the article",
                "put {input} where the article goes",
            )
        if Path(self.run_name).name != self.run_name:
            raise ParameterError(
                "run_name", self.run_name, "is not a plain name", "put folders into outputs"
            )
        for name, value in self.engine_options.items():
            if name in RunParams.model_fields:
                raise ParameterError(
                    f"engine_options.{name}", value, "is a parameter of its own", f"give {name}"
                )
            if name == "hf_token":
                raise ParameterError(
                    f"engine_options.{name}",
                    "[secret]",
                    "would be recorded with the run",
                    "set HF_TOKEN in the environment",
                )
        if self.benchmark == "llama3_1-8b-interactive" and self.scenario != "Server":
            raise ParameterError(
                "scenario",
                self.scenario,
                "the interactive benchmark exists in the Server scenario only",
                "give scenario Server, or another benchmark",
            )
        return self

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunParams":
        """Validate ``values``.

        Raises:
            ParameterError: for the first parameter that is unknown or cannot be used.
        """
        values = {ALIASES.get(name, name): value for name, value in values.items()}
        for name, value in values.items():
            if name not in cls.model_fields:
                close = difflib.get_close_matches(name, cls.model_fields, n=1)
                cure = f"did you mean {close[0]}?" if close else "see the README for all of them"
                raise ParameterError(name, value, "is not a parameter", cure)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            cure = f"it takes: {cls.model_fields[name].description}"
            raise ParameterError(name, values.get(name), first["msg"], cure) from None

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> "RunParams":
        """Read a parameters file; ``overrides`` win over it.

        Raises:
            ParameterError: if the file cannot be read or holds a bad parameter.
        """
        return cls.from_dict({**read_yaml(path), **overrides})

    def to_yaml(self) -> str:
        """All parameters as YAML text that ``from_yaml`` reads back."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, width=100)

    def changed(self, **overrides: Any) -> "RunParams":
        """These parameters with some replaced, validated again."""
        return self.from_dict({**self.model_dump(), **overrides})


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ParameterError: if there is no such file or it is not a mapping.
    """
    cure = "give a YAML file of 'name: value' lines, such as params/cpu.yaml"
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        problem = str(error).replace("\n", " ")
        raise ParameterError("params file", str(path), problem, cure) from None
    if not isinstance(values, dict):
        raise ParameterError("params file", str(path), "holds no parameters", cure)
    return values
