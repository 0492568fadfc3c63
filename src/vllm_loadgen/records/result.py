"""What LoadGen and the harness record of one test: result.json."""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from vllm_loadgen.records.base import Facts, Part, as_number
from vllm_loadgen.traits import SCENARIOS, Scenario, ScenarioTraits

Mode = Literal["performance", "accuracy", "compliance"]
# The file says "running" while a test runs; a later reader takes that for an interrupted one.
Status = Literal["complete", "failed", "interrupted", "running"]
Verdict = Literal["VALID", "INVALID"]


class EffectiveSettings(Part):
    """The settings that LoadGen used; None where its log lacks them.

    All settings of the log are kept; the fields are those that the project reads.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    min_duration_ms: int | None = None
    min_query_count: int | None = None
    samples_per_query: int | None = None
    performance_sample_count: int | None = None
    accuracy_sample_count: int | None = None
    accuracy_log_sampling_target: int | None = None
    target_qps: float | None = None
    target_latency_percentile: float | None = None
    ttft_latency: int | None = None  # ns
    tpot_latency: int | None = None  # ns
    use_token_latencies: bool | None = None
    sample_concatenate_permutation: bool | None = None
    qsl_rng_seed: int | None = None
    sample_index_rng_seed: int | None = None
    schedule_rng_seed: int | None = None


class LoadgenResults(Part):
    """LoadGen's results; None where its log lacks them. All results of the log are kept."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    validity: str | None = None
    min_duration_met: bool | None = None
    min_queries_met: bool | None = None
    early_stopping_met: bool | None = None

    def number(self, key: str) -> float | None:
        """A figure by LoadGen's own name; None if it is missing or not a number."""
        return as_number(self.__pydantic_extra__.get(key))

    @property
    def ttft_p99_ns(self) -> float | None:
        """The 99th percentile of TTFT, whatever percentile the test was judged at."""
        return self.number("first_token_99.00_percentile_latency_ns")

    @property
    def tpot_p99_ns(self) -> float | None:
        """The same of TPOT."""
        return self.number("time_per_output_token_99.00_percentile_ns")


class LoadgenLog(Facts):
    """The content of one LoadGen test's logs.

    Attributes:
        verdict: None of an accuracy run and of one without its end.
        verdict_reasons: LoadGen's own lines beneath it.
        num_errors: None where there is no log.
        error_lines: the first of them.
        total_sample_count: samples of the QSL.
    """

    verdict: Verdict | None = None
    verdict_reasons: tuple[str, ...] = ()
    num_errors: int | None = None
    num_warnings: int | None = None
    error_lines: tuple[str, ...] = ()
    total_sample_count: int | None = None
    effective_settings: EffectiveSettings = EffectiveSettings()
    loadgen_results: LoadgenResults = LoadgenResults()


class WarmUpRound(Part):
    """Queries that were asked at once before the clock started, and how fast they were answered."""

    queries: int
    tokens: int
    duration_s: float
    tokens_per_s: float


class WarmUp(Part):
    """The warm-up of an engine, before the clock starts.

    Attributes:
        batch: expected in the test; 0: not estimated.
        steady: whether the last two rounds were of it and equally fast; None where that was not
            checked: an accuracy test, warmup_max_s = 0, an engine that an earlier test warmed, or
            one with an unknown maximum.
    """

    rounds: tuple[WarmUpRound, ...] = ()
    batch: int = 0
    steady: bool | None = None


class ServerCounts(Part):
    """A server's own counters over one test; None where it does not have one.

    Attributes:
        prompt_tokens: of all prompts, cached ones too. cache_queries, cached_tokens: prompt tokens
            looked up in the prefix cache, and found there.
        steps: of the engine. draft_tokens, accepted_tokens: of speculative decoding.
        problem: why nothing is known; empty if it is.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cache_queries: int | None = None
    cached_tokens: int | None = None
    preemptions: int | None = None
    draft_tokens: int | None = None
    accepted_tokens: int | None = None
    steps: int | None = None
    problem: str = ""


class Result(LoadgenLog):
    """result.json: one LoadGen test.

    Attributes:
        started_at: ISO 8601, UTC. duration_s: of the test. queries: that were issued.
        clock_step_ms: how far the system clock (LoadGen's: libstdc++'s high_resolution_clock) moved
            against the monotonic clock (the harness's) during the test; None if not measured.
        warmup_queries, warmup_s: before the clock started, in all rounds of ``warmup``.
        late_compilations: lines of the engine's log on kernels compiled and pools grown during
            the test.
        refused: queries that the engine would not answer. refused_because: its first reasons.
        finish_reasons: why a server's answers ended, in its words, with how many did; empty where
            the engine gives no reasons.
        resumed_samples: of an accuracy test, answered by an earlier one that was interrupted.
        server: of an engine over HTTP with metrics, else None.
    """

    mode: Mode = "performance"
    status: Status
    scenario: Scenario
    benchmark: str = "llama3_1-8b"
    started_at: str = ""
    duration_s: float = 0.0
    clock_step_ms: float | None = None
    queries: int = 0
    warmup_queries: int = 0
    warmup_s: float = 0.0
    warmup: WarmUp | None = None
    late_compilations: tuple[str, ...] = Field((), alias="unprepared")
    refused: int = 0
    refused_because: tuple[str, ...] = ()
    finish_reasons: dict[str, int] = Field(default_factory=dict)
    resumed_samples: int = 0
    server: ServerCounts | None = None

    @property
    def complete(self) -> bool:
        """Whether the test came to its end."""
        return self.status == "complete"

    @property
    def scenario_traits(self) -> ScenarioTraits:
        """How LoadGen issued its queries and judged them."""
        return SCENARIOS[self.scenario]

    def with_log(self, log: LoadgenLog) -> "Result":
        """The same test with the present content of its logs."""
        named = {name: getattr(log, name) for name in LoadgenLog.model_fields}
        return self.model_copy(update=named)
