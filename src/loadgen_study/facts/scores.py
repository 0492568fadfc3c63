"""What the answers are worth: accuracy, compliance, baselines, and what a search found."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, JsonValue

from vllm_loadgen.records.base import Facts, Number, Part

# Figures by metric (``Scorer.totals``).
Score = dict[str, int | float]
ComplianceStatus = Literal["PASS", "FAIL"]
AccuracyStatus = Literal[ComplianceStatus, "INCONCLUSIVE", "NO BASELINE"]


class Comparison(Part):
    """One metric and what is required of it."""

    metric: str
    actual: int | float
    reference: int | float
    ratio: Number  # NaN if the reference is 0
    required: str  # such as ">= 38.3914"
    required_99_9: str
    met: bool  # False if the reference is 0
    met_99_9: bool
    # Of the ratio over the samples, at the verdict's ``interval_level``; None if not known.
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def decides(self) -> bool:
        """Whether the reference gives a limit: 99 % of 0 is reached by any answers."""
        return self.reference != 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both bounds of the ratio; None if not known."""
        if self.ratio_low is None or self.ratio_high is None:
            return None
        return self.ratio_low, self.ratio_high


class AccuracyVerdict(Part):
    """PASS or FAIL at 99 %, or INCONCLUSIVE where the samples or the reference cannot decide."""

    status: AccuracyStatus
    against: str  # whose score the reference is
    # {"99 %": bool, "99.9 %": bool}, by the scores as they are, chance or not.
    levels: dict[str, bool] = Field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    interval_level: float = 0.95  # of each score's interval, 0 to 1
    # About how many distinguish an engine without loss from one that loses 1 %; None unless
    # INCONCLUSIVE, and where more samples do not help.
    samples_needed: int | None = None

    @property
    def undecided(self) -> tuple[Comparison, ...]:
        """The metrics whose reference is 0."""
        return tuple(row for row in self.comparisons if not row.decides)


class Estimate(Part):
    """A figure with its 95 % interval; None where the interval is not known."""

    value: Number
    low: float | None = None
    high: float | None = None


class Forced(Facts):
    """forced.json: what the engine thinks of the reference engine's answers, by sample.

    The first samples alone where there was no time for all.
    """

    answers_sha256: str = ""  # of the baseline whose answers they are
    tokens: tuple[int, ...] = ()  # that the reference chose freely
    agreed: tuple[int, ...] = ()  # of them, those that the engine would choose as well
    logprob_difference: tuple[Number, ...] = ()  # sum over them, engine less reference, in nats
    duration_s: float = 0.0
    problem: str = ""  # why the engine gave none; empty if it did


class Fidelity(Part):
    """How near the engine's answers are to the reference engine's, token by token."""

    answers: int  # compared
    identical: int | None = None  # to the last token; None where answers are sampled
    # Before the first that differs, of the other answers; None where answers are sampled.
    same_tokens_median: float | None = None
    forced_answers: int = 0  # of the reference's, given to the engine
    forced_tokens: int = 0  # of these; 0 if the engine was not asked
    agreement: Estimate | None = None  # share of them that the engine would choose too, 0 to 1
    logprob_difference: Estimate | None = None  # a token, engine less reference, in nats
    duration_s: float = 0.0
    problem: str = ""  # as of ``Forced``


class Accuracy(Facts):
    """accuracy.json: the score of an accuracy test and its verdict."""

    score: Score
    verdict: AccuracyVerdict
    fidelity: Fidelity | None = None  # None without a baseline that holds answers
    no_fidelity: str = ""  # why there is none


class Compliance(Facts):
    """compliance.json: the verdict of a compliance test."""

    status: ComplianceStatus
    samples: int = 0  # answers in the log
    lines: tuple[str, ...] = ()  # of the file that the checker reads
    failures: tuple[str, ...] = ()  # why it fails; in TEST06 a line for each answer at fault


class BaselineKey(Part):
    """What decides the score of a perfect engine; two runs compare only if all of it is equal."""

    weights_sha256: dict[str, str]
    dataset_checksum: str
    samples: int
    prompts_sha256: str
    instruction: str | None
    chat_template: bool
    max_new_tokens: int
    min_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


class Baseline(Facts):
    """What the reference engine scored."""

    key: BaselineKey
    score: Score
    # Scores of each sample by metric (0 to 1 at a scale of 100).
    samples: dict[str, list[Number]] = Field(default_factory=dict)
    answers_sha256: str = ""  # of the file of answers; empty without one
    provenance: dict[str, JsonValue]


class Probe(Part):
    """One test of a rate that a search made."""

    qps: float
    valid: bool  # LoadGen's VALID, at the rate that was offered
    duration_s: float
    # Whether one test is enough: so many queries over a limit are not chance.
    conclusive: bool = Field(False, alias="sure")
    # Why it is not valid, where that is known: a limit exceeded, or early stopping alone.
    why: Literal["", "too slow", "too few queries"] = ""
    reached_qps: float | None = None  # that the harness issued; None if it issued all


class Peak(Facts):
    """peak.json: the course of a search for the highest valid rate."""

    offline_samples_per_s: float
    highest_valid_qps: float
    lowest_invalid_qps: float | None
    confirmed: bool
    probes: Sequence[Probe]


class Variant(Facts):
    """variant.json: one value of a tuning."""

    title: str
    changes: dict[str, JsonValue] = Field(default_factory=dict)  # of the run's parameters
    problem: str = ""  # why it could not be measured; empty if it could
