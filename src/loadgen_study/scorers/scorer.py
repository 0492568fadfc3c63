"""The base of all scorers: metrics with their limits, scores by sample, totals."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

# (answer, reference) -> 1 right, 0 wrong, NaN if text alone does not decide.
Judge = Callable[[str, str], float]
# MLPerf's stricter level: a metric with a lower limit alone is held against both.
STRICT = 0.999


@dataclass(frozen=True)
class Metric:
    """One figure of a score, with the shares of the reference's figure that limit it.

    Attributes:
        name: in files, and in MLCommons' accuracy.txt. title: for a reader.
        lower, upper: limits, as shares of the reference's; None: no limit on this side. Without an
            upper limit higher is better; without any limit the metric is not judged.
        total: computes the figure from all samples of ``Scorer.score``; None: ``scale`` times the
            mean of the column of this name.
        phrase: in a sentence, if not ``title``. wanted: the limits for a reader, if not in %.
    """

    name: str
    title: str
    lower: float | None = 0.99
    upper: float | None = None
    scale: float = 100
    total: Callable[[pd.DataFrame], int | float] | None = None
    phrase: str = ""
    wanted: str = ""

    @property
    def by_sample(self) -> bool:
        """Whether each sample has a score of its own."""
        return self.total is None

    @property
    def limits(self) -> list[float]:
        """The limits that are set, as shares of the reference's figure."""
        return [limit for limit in (self.lower, self.upper) if limit is not None]

    @property
    def needed(self) -> str:
        """The limits for a reader: "99 %", "90 to 110 %"."""
        return self.wanted or " to ".join(f"{limit * 100:g}" for limit in self.limits) + " %"

    @property
    def called(self) -> str:
        """The metric's name in a sentence."""
        return self.phrase or self.title

    def judged(self, actual: float, reference: float, strict: bool = False) -> tuple[str, bool]:
        """The requirement, such as ">= 38.3914", and whether it is met; never if reference is 0."""
        lower, upper = self.lower, self.upper
        if strict and upper is None and lower is not None:
            lower = max(lower, STRICT)
        low = -math.inf if lower is None else reference * lower
        high = math.inf if upper is None else reference * upper
        met = bool(reference) and low <= actual <= high
        if lower == upper:
            return f"= {reference}", met
        if lower is None or upper is None:
            return (f"<= {high:.4f}" if lower is None else f">= {low:.4f}"), met
        return f"{low:.1f} to {high:.1f}", met


def _counted(name: str, title: str, column: str) -> Metric:
    """A sum over the answers, without limits."""
    return Metric(name, title, lower=None, total=lambda samples: int(samples[column].sum()))


# What every scorer can count, named as in MLCommons' references.
ANSWERS = Metric(
    "gen_num", "answers", 1, 1, total=len, phrase="their number", wanted="the same number"
)
TOKENS = _counted("gen_tok_len", "length of all answers, tokens", "output_tokens")
# To one decimal, as MLCommons' references print it. The submission checker has both limits.
TOKENS_PER_SAMPLE = Metric(
    "tokens_per_sample", "tokens an answer", 0.9, 1.1,
    total=lambda samples: round(float(samples["output_tokens"].mean()), 1),
)  # fmt: skip
# Samples without a verdict: True in the column of the same name.
NOT_SCORED = _counted("not_scored", "answers not scored", "not_scored")
UNDECIDED = _counted("undecided", "answers that text alone does not decide", "undecided")


def unjudged(metric: Metric) -> Metric:
    """The same figure without limits."""
    return replace(metric, lower=None, upper=None, wanted="")


class Scorer(ABC):
    """How the answers to a task are judged.

    Attributes:
        title: for a reader.
        metrics: the first is shown where there is room for one; it has scores by sample.
        packages: Python packages whose versions may change a score.
        special_tokens: whether the text of an answer keeps the special tokens.
        unscorable: why some references cannot be scored, for a reader. cure: what to give instead.
    """

    title: str
    metrics: tuple[Metric, ...]
    packages: tuple[str, ...] = ()
    special_tokens = False
    unscorable = ""
    cure = ""

    @abstractmethod
    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        """Scores of each sample.

        Args:
            samples: a row each: sample_index, summary (the answer as text), reference,
                output_tokens, scorable, and the task's ``extra`` columns.

        Returns:
            samples with a column of scores (0 to 1 at a scale of 100) for each metric by sample;
            NaN where a metric leaves a sample out. A column ``weight`` has weights other than 1.
            summary and reference may be normalized for comparison.
        """

    def scorable(self, reference: str) -> bool:
        """Whether an answer can score against a reference."""
        return True

    def printed(self, score: dict[str, int | float]) -> dict[str, int | float | str]:
        """The part of a score that accuracy.txt holds: the judged metrics."""
        return {m.name: score[m.name] for m in self.metrics if m.limits and m.name in score}

    @property
    def main(self) -> Metric:
        """The metric that is shown where there is room for one."""
        return self.metrics[0]

    @property
    def by_sample(self) -> list[Metric]:
        """The metrics that have a score for each sample."""
        return [metric for metric in self.metrics if metric.by_sample]

    def metric(self, name: str) -> Metric:
        """A metric by its name; an unknown one gets its name as its title."""
        return next((m for m in self.metrics if m.name == name), Metric(name, name))

    def totals(self, samples: pd.DataFrame) -> dict[str, int | float]:
        """The figures of all samples, by metric; means are rounded to 4 digits.

        Args:
            samples: of ``score``. A metric that leaves all of them out has no figure.
        """
        found: dict[str, int | float] = {}
        for metric in self.metrics:
            if metric.total is not None:
                found[metric.name] = metric.total(samples)
            elif not (known := samples.dropna(subset=[metric.name])).empty:
                mean = np.average(known[metric.name], weights=known.get("weight"))
                found[metric.name] = round(float(mean) * metric.scale, 4)
        return found
