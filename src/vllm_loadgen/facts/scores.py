"""What the answers are worth: accuracy, compliance, baselines, and what a search found."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, JsonValue

from vllm_loadgen.facts.base import Facts, Number, Part

AccuracyStatus = Literal["PASS", "FAIL", "NO BASELINE"]


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
        ratio_low, ratio_high: 95 % interval of the ratio over the samples; None if not known.
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


class AccuracyVerdict(Part):
    """PASS or FAIL at 99 %.

    Attributes:
        against: whose score the reference is. levels: {"99 %": bool, "99.9 %": bool}.
    """

    status: AccuracyStatus
    against: str
    levels: dict[str, bool] = Field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()

    def comparison(self, metric: str) -> Comparison | None:
        """The comparison of one metric."""
        return next((row for row in self.comparisons if row.metric == metric), None)


class Accuracy(Facts):
    """accuracy.json: the score of an accuracy test and its verdict."""

    score: Score
    verdict: AccuracyVerdict


class Compliance(Facts):
    """compliance.json: TEST06.

    Attributes:
        samples: answers logged. lines: of verify_accuracy.txt.
        failures: a line for each answer that breaks a rule.
    """

    status: Literal["PASS", "FAIL"]
    samples: int = 0
    lines: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


class BaselineKey(Part):
    """What decides the score of a perfect engine; two runs compare only if all of it is equal."""

    weights_sha256: dict[str, str]
    dataset_checksum: str
    samples: int
    instruction: str | None
    chat_template: bool
    max_new_tokens: int
    min_new_tokens: int


class Baseline(Part):
    """What the reference engine scored.

    Attributes:
        samples: scores (0 to 1) of each sample by metric; empty in the oldest.
    """

    key: BaselineKey
    score: Score
    samples: dict[str, list[float]] = Field(default_factory=dict)
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
