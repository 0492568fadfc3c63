"""What the answers are worth: accuracy, compliance, baselines, and what a search found."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, JsonValue

from vllm_loadgen.records.base import Facts, Number, Part

ComplianceStatus = Literal["PASS", "FAIL"]
AccuracyStatus = Literal[ComplianceStatus, "INCONCLUSIVE", "NO BASELINE"]


class Score(Part):
    """ROUGE means (0 to 100) and lengths: gen_len in characters, gen_tok_len in ids."""

    rouge1: float
    rouge2: float
    rougeL: float
    rougeLsum: float
    gen_len: int
    gen_num: int
    gen_tok_len: int = 0


class Comparison(Part):
    """One metric beside what is required of it; required is text such as ">= 38.3914".

    Attributes:
        ratio: NaN if the reference is 0.
        met, met_99_9: False if the reference is 0.
        ratio_low, ratio_high: interval of the ratio over the samples, at the verdict's
            ``interval_level``; None if not known.
    """

    metric: str
    actual: int | float
    reference: int | float
    ratio: Number
    required: str
    required_99_9: str
    met: bool
    met_99_9: bool
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def decides(self) -> bool:
        """Whether the reference gives a limit: 99 % of 0 is reached by any answers."""
        return self.reference != 0


class AccuracyVerdict(Part):
    """PASS or FAIL at 99 %, or INCONCLUSIVE where the samples or the reference cannot decide.

    Attributes:
        against: whose score the reference is.
        levels: {"99 %": bool, "99.9 %": bool}, by the scores as they are, chance or not.
        interval_level: of each score's interval (0 to 1); the oldest files have 0.95.
        samples_needed: with about so many an engine that loses nothing would be told from one
            that loses 1 %; None unless INCONCLUSIVE, and where more samples would not help.
    """

    status: AccuracyStatus
    against: str
    levels: dict[str, bool] = Field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    interval_level: float = 0.95
    samples_needed: int | None = None

    @property
    def undecided(self) -> tuple[Comparison, ...]:
        """The metrics whose reference is 0."""
        return tuple(row for row in self.comparisons if not row.decides)

    def comparison(self, metric: str) -> Comparison | None:
        """The comparison of one metric."""
        return next((row for row in self.comparisons if row.metric == metric), None)


class Estimate(Part):
    """A figure with its 95 % interval; None for an interval that cannot be told."""

    value: Number
    low: float | None = None
    high: float | None = None


class Forced(Facts):
    """forced.json: what the engine thinks of the reference engine's answers, by sample.

    The first samples alone where there was no time for all.

    Attributes:
        answers_sha256: of the baseline whose answers they are.
        tokens: that the reference chose freely. agreed: at which the engine would choose as well.
        logprob_difference: the sum over them, engine less reference, in nats.
        duration_s: what it took. problem: why it could not be asked; empty if it was.
    """

    answers_sha256: str = ""
    tokens: tuple[int, ...] = ()
    agreed: tuple[int, ...] = ()
    logprob_difference: tuple[Number, ...] = ()
    duration_s: float = 0.0
    problem: str = ""


class Fidelity(Part):
    """How near the engine's answers are to the reference engine's, token by token.

    Attributes:
        answers: compared. identical: of them, to the last token.
        same_tokens_median: of the other answers, tokens before the first that differs; None if
            there are no others.
        forced_answers: of the reference's, given to the engine; None in the oldest files, which
            hold all.
        forced_tokens: of them; 0 if the engine was not asked.
        agreement: share of them that the engine would choose as well (0 to 1).
        logprob_difference: of them a token, engine less reference, in nats.
        problem: why the engine was not asked; empty if it was.
    """

    answers: int
    identical: int
    same_tokens_median: float | None = None
    forced_answers: int | None = None
    forced_tokens: int = 0
    agreement: Estimate | None = None
    logprob_difference: Estimate | None = None
    duration_s: float = 0.0
    problem: str = ""


class Accuracy(Facts):
    """accuracy.json: the score of an accuracy test and its verdict.

    Attributes:
        fidelity: None of a run without a baseline that holds answers.
        no_fidelity: why there is none; empty in the oldest files.
    """

    score: Score
    verdict: AccuracyVerdict
    fidelity: Fidelity | None = None
    no_fidelity: str = ""


class Compliance(Facts):
    """compliance.json: TEST06.

    Attributes:
        samples: answers logged. lines: of verify_accuracy.txt.
        failures: a line for each answer that breaks a rule.
    """

    status: ComplianceStatus
    samples: int = 0
    lines: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


class BaselineKey(Part):
    """What decides the score of a perfect engine; two runs compare only if all of it is equal."""

    weights_sha256: dict[str, str]
    dataset_checksum: str
    samples: int
    prompts_sha256: str | None = None
    instruction: str | None
    chat_template: bool
    max_new_tokens: int
    min_new_tokens: int


class Baseline(Facts):
    """What the reference engine scored.

    Attributes:
        samples: scores (0 to 1) of each sample by metric; empty in the oldest.
        answers_sha256: of the file beside that holds the answers; empty in older ones, which have
            none.
    """

    key: BaselineKey
    score: Score
    samples: dict[str, list[float]] = Field(default_factory=dict)
    answers_sha256: str = ""
    provenance: dict[str, JsonValue]


class Probe(Part):
    """One test of a rate that a search made.

    Attributes:
        valid: LoadGen's VALID, at a rate that was offered.
        sure: that so many queries over a limit are no chance.
        reached_qps: queries/s that the harness issued; None if it issued what was asked for.
    """

    qps: float
    valid: bool
    duration_s: float
    sure: bool = False
    reached_qps: float | None = None


class Peak(Facts):
    """peak.json: the course of a search for the highest valid rate."""

    offline_samples_per_s: float
    highest_valid_qps: float
    lowest_invalid_qps: float | None
    confirmed: bool
    probes: Sequence[Probe]


class Variant(Facts):
    """variant.json: one value of a tuning.

    Attributes:
        changes: of the run's parameters; empty for the run as it is, and in the oldest files.
        problem: why it could not be measured; empty if it could.
    """

    title: str
    changes: dict[str, JsonValue] = Field(default_factory=dict)
    problem: str = ""
