"""The figures of tests, and those of a run: summary.json."""

import math
from collections.abc import Mapping

from pydantic import ConfigDict, Field

from loadgen_study.facts.scores import Score
from vllm_loadgen.records.base import Facts, Number, Part


class Distribution(Part):
    """A latency over all queries; NaN where none has it."""

    mean: Number
    # By LoadGen's definition; NaN with too few queries to bound them.
    p50: Number
    p90: Number
    p99: Number
    min: Number
    max: Number
    # See ``analysis.percentiles.upper_bound``.
    p50_upper: Number = math.nan
    p90_upper: Number = math.nan
    p99_upper: Number = math.nan
    queries: int = 0  # that have this latency


class OutputTokens(Part):
    """Tokens of the answers."""

    mean: Number
    total: int


class Metrics(Part):
    """Throughput and latencies of a test (see ``analysis.metrics.metrics``)."""

    samples: int
    completed: int
    duration_s: float
    samples_per_s: float
    tokens_per_s: float
    input_tokens_per_s: float
    output_tokens: OutputTokens
    ttft_ms: Distribution
    tpot_ms: Distribution
    latency_ms: Distribution
    queue_ms: Distribution
    prefill_ms: Distribution
    decode_ms: Distribution
    schedule_delay_ms: Distribution
    # Of a Server test: samples/s within both limits (None where none applies), queries/s by its
    # schedule and as they came (None where not known).
    goodput_per_s: float | None = None
    due_per_s: float | None = None
    issued_per_s: float | None = None


class TestSummary(Part):
    """A test in a few figures: whether it came to its end and, apart from it, its verdict."""

    __test__ = False  # pytest would take it for tests

    status: str | None = None
    scenario: str | None = None
    verdict: str | None = None  # LoadGen's of performance; PASS or FAIL (or why not) of others
    duration_s: float | None = None
    queries: int | None = None
    num_errors: int | None = None
    metrics: Metrics | None = None
    score: Score | None = None


class Summary(Facts):
    """summary.json: the run's tests, by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, TestSummary] = Field(init=False)

    @property
    def tests(self) -> Mapping[str, TestSummary]:
        """What the run holds."""
        return self.__pydantic_extra__

    def noted(self, name: str, test: TestSummary) -> "Summary":
        """With what is known of one more test, over what was known of it."""
        known = self.tests.get(name, TestSummary())
        merged = known.model_copy(update={k: getattr(test, k) for k in test.model_fields_set})
        return Summary(**{**self.tests, name: merged})

    def renamed(self, name: str, new_name: str) -> "Summary":
        """With one test under another name."""
        moved = {new_name if key == name else key: test for key, test in self.tests.items()}
        return Summary(**moved)
