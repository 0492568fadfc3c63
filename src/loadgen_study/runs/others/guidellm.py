"""GuideLLM's benchmarks.json, a result for each of its benchmarks.

Report schemas 1 and 2 (guidellm 0.6 to 0.8: guidellm/benchmark/schemas). Its own mean of the time
between tokens weighs each query by its tokens, and its TPOT includes the first token: TPOT by
LoadGen's definition is the "inter_token_latency_ms" of single queries. It is absent where the file
holds a sample of them.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import AliasPath, Field, JsonValue

from loadgen_study.runs.others.origin import Compared, Load, Origin, from_files
from vllm_loadgen.records.base import Part

TOOL = "GuideLLM"
MARKS = {"benchmarks", "metadata"}
LOADS: dict[str, Load] = {
    "constant": "open loop", "poisson": "open loop", "trace": "open loop",
    "synchronous": "closed loop", "concurrent": "closed loop", "throughput": "all at once",
}  # fmt: skip
TOKENS_BY = {True: "the server", False: "the client's tokenizer", None: None}


def _metric(name: str) -> Any:
    return Field(validation_alias=AliasPath("metrics", name, "successful"))


def _setting(*path: str) -> Any:
    return Field(None, validation_alias=AliasPath("config", *path))


class Statistics(Part):
    """A distribution over the successful queries."""

    mean: float
    count: int = 0
    percentiles: dict[str, float] = Field(default_factory=dict)

    def shown(self, title: str, unit_ms: float = 1.0) -> dict[str, float]:
        """Percentiles by their titles: "TTFT p99, ms"."""
        known = [name for name in ("p50", "p90", "p99") if name in self.percentiles]
        return {f"{title} {name}, ms": unit_ms * self.percentiles[name] for name in known}


class Query(Part):
    """A successful query."""

    request_start_time: float | None = None
    request_latency: float | None = None  # s
    time_to_first_token_ms: float | None = None
    inter_token_latency_ms: float | None = None


class Benchmark(Part):
    """One benchmark of a report, as far as it is read: its successful queries."""

    strategy: JsonValue = _setting("strategy", "type_")
    model: JsonValue = _setting("backend", "model")
    prefer_response_metrics: bool | None = _setting("prefer_response_metrics")
    queries: tuple[Query, ...] = Field((), validation_alias=AliasPath("requests", "successful"))
    warmup_duration: float | None = None  # s, cut off the measured time
    requests_per_second: Statistics = _metric("requests_per_second")
    output_tokens_per_second: Statistics = _metric("output_tokens_per_second")
    request_latency: Statistics = _metric("request_latency")  # s
    time_to_first_token_ms: Statistics = _metric("time_to_first_token_ms")
    prompt_token_count: Statistics = _metric("prompt_token_count")
    output_token_count: Statistics = _metric("output_token_count")


class Report(Part):
    """The file."""

    version: str | None = Field(None, validation_alias=AliasPath("metadata", "guidellm_version"))
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)


def read(content: Mapping[str, JsonValue], name: str) -> list[Compared]:
    """The benchmarks in a file.

    Raises:
        ValueError: if the file is damaged.
    """
    report = Report.model_validate(content)
    return [_result(one, name, report.version) for one in report.benchmarks]


def _result(one: Benchmark, name: str, version: str | None) -> Compared:
    ttft, latency = one.time_to_first_token_ms, one.request_latency
    are_all = len(one.queries) == latency.count
    stated = {
        "samples_per_s": one.requests_per_second.mean,
        "tokens_per_s": one.output_tokens_per_second.mean,
        "latency_ms": 1e3 * latency.mean,
    }
    reported = latency.shown("latency", 1e3)
    if ttft.mean > 0:  # GuideLLM writes 0 without streaming
        stated["ttft_ms"] = ttft.mean
        reported |= ttft.shown("TTFT")
    queries = _frame(one.queries) if one.queries and are_all else None
    return from_files(name, _origin(one, version), stated, reported, queries)


def _frame(queries: tuple[Query, ...]) -> pd.DataFrame:
    """The latencies of queries in order of their start, ms."""
    frame = pd.DataFrame([dict(query) for query in queries], dtype=float)
    frame = frame.sort_values("request_start_time").assign(
        latency_ms=1e3 * frame["request_latency"]
    )
    names = {"time_to_first_token_ms": "ttft_ms", "inter_token_latency_ms": "tpot_ms"}
    return frame.rename(columns=names)[["ttft_ms", "tpot_ms", "latency_ms"]]


def _origin(one: Benchmark, version: str | None) -> Origin:
    return Origin(
        tool=TOOL,
        version=version,
        model=str(one.model) if one.model else None,
        load=LOADS.get(str(one.strategy)),
        latency_from="sent",
        tokens_by=TOKENS_BY[one.prefer_response_metrics],
        warmed_up=None if one.warmup_duration is None else one.warmup_duration > 0,
        input_tokens=one.prompt_token_count.mean,
        output_tokens=one.output_token_count.mean,
    )
