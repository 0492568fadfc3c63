"""GuideLLM's benchmarks.json, a result for each of its benchmarks.

Report schemas 1 and 2 (guidellm 0.6 to 0.8: guidellm/benchmark/schemas). Its own mean of the time
between tokens weighs each query by its tokens, and its TPOT holds the first token: TPOT by
LoadGen's definition is its "inter_token_latency_ms" of single queries, and absent where these are a
sample.
"""

from collections.abc import Mapping

import pandas as pd
from pydantic import Field, JsonValue

from loadgen_study.runs.others.origin import Figure, Load, Origin, OtherResult
from loadgen_study.runs.others.queries import of_queries
from vllm_loadgen.records.base import Part

TOOL = "GuideLLM"
MARKS = {"benchmarks", "metadata"}
LOADS: dict[str, Load] = {
    "constant": "open loop", "poisson": "open loop", "trace": "open loop",
    "synchronous": "closed loop", "concurrent": "closed loop", "throughput": "all at once",
}  # fmt: skip


class Statistics(Part):
    """A distribution over the successful queries."""

    mean: float
    count: int = 0
    percentiles: dict[str, float] = Field(default_factory=dict)


class Successful(Part):
    """A metric; of the other queries nothing is read."""

    successful: Statistics


class Measured(Part):
    """The metrics that are read."""

    requests_per_second: Successful
    output_tokens_per_second: Successful
    request_latency: Successful  # s
    time_to_first_token_ms: Successful
    prompt_token_count: Successful
    output_token_count: Successful


class Query(Part):
    """A successful query; the latency in s."""

    request_start_time: float | None = None
    request_latency: float | None = None
    time_to_first_token_ms: float | None = None
    inter_token_latency_ms: float | None = None


class Queries(Part):
    """Single queries: all, or a sample."""

    successful: tuple[Query, ...] = ()


class Config(Part):
    """How one benchmark was made."""

    strategy: dict[str, JsonValue] = Field(default_factory=dict)
    backend: dict[str, JsonValue] | str | None = None
    prefer_response_metrics: bool | None = None


class Benchmark(Part):
    """One benchmark of a report."""

    config: Config = Config()
    metrics: Measured
    requests: Queries = Queries()
    warmup_duration: float | None = None


class Metadata(Part):
    """Of the report."""

    guidellm_version: str | None = None


class Report(Part):
    """The file."""

    metadata: Metadata
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)


def read(content: Mapping[str, JsonValue], name: str) -> list[OtherResult]:
    """The benchmarks in a file.

    Raises:
        ValueError: for what it does not write.
    """
    report = Report.model_validate(content)
    return [_result(one, name, report.metadata.guidellm_version) for one in report.benchmarks]


def _result(one: Benchmark, name: str, version: str | None) -> OtherResult:
    found = one.metrics
    count = found.request_latency.successful.count
    whole = one.requests.successful if len(one.requests.successful) == count else ()
    means, quantiles = of_queries(_frame(whole))
    stated: dict[str, Figure] = {
        "samples_per_s": (found.requests_per_second.successful.mean, None, None),
        "tokens_per_s": (found.output_tokens_per_second.successful.mean, None, None),
        "latency_ms": (1e3 * found.request_latency.successful.mean, None, None),
    }
    ttft = found.time_to_first_token_ms.successful
    streamed = ttft.mean > 0  # without streaming it writes 0
    if streamed:
        stated["ttft_ms"] = (ttft.mean, None, None)
    reported = {f"latency {k}, ms": 1e3 * v for k, v in _known(found.request_latency.successful)}
    reported |= {f"TTFT {k}, ms": v for k, v in _known(ttft) if streamed}
    return OtherResult(
        name=name, origin=_origin(one, version), figures=stated | means, quantiles=quantiles,
        reported=reported,
    )  # fmt: skip


def _known(found: Statistics) -> list[tuple[str, float]]:
    return [(k, found.percentiles[k]) for k in ("p50", "p90", "p99") if k in found.percentiles]


def _frame(queries: tuple[Query, ...]) -> pd.DataFrame:
    """The latencies of queries in order of their start, ms."""
    if not queries:
        return pd.DataFrame()
    frame = pd.DataFrame([dict(query) for query in queries], dtype=float)
    frame = frame.sort_values("request_start_time")
    return pd.DataFrame(
        {
            "ttft_ms": frame["time_to_first_token_ms"],
            "tpot_ms": frame["inter_token_latency_ms"],
            "latency_ms": 1e3 * frame["request_latency"],
        }
    )


def _origin(one: Benchmark, version: str | None) -> Origin:
    backend = one.config.backend
    model = backend.get("model") if isinstance(backend, dict) else None
    counted = {True: "the server", False: "the client's tokenizer", None: None}
    return Origin(
        tool=TOOL,
        version=version,
        model=str(model) if model else None,
        load=LOADS.get(str(one.config.strategy.get("type_"))),
        latency_from="sent",
        tokens_by=counted[one.config.prefer_response_metrics],
        # A warm-up is cut off the measured time.
        warmed_up=None if one.warmup_duration is None else one.warmup_duration > 0,
        input_tokens=one.metrics.prompt_token_count.successful.mean,
        output_tokens=one.metrics.output_token_count.successful.mean,
    )
