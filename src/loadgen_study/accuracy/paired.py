"""Two accuracy tests on the same data, sample by sample: what differs, and whether it is chance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.accuracy import clustered
from loadgen_study.accuracy.scores import scorable_rows
from loadgen_study.facts.scores import Estimate, Forced
from loadgen_study.scorers.scorer import Metric


@dataclass(frozen=True)
class Answered:
    """What a test answered.

    Attributes:
        samples: scores.parquet, by sample; samples of one "cluster", where there is such a column,
            are answers to the same prompt. forced: forced.json; None if the engine was not asked.
    """

    samples: pd.DataFrame
    forced: Forced | None = None


@dataclass(frozen=True)
class Change:
    """A sample's two answers, and the score of each (0 to 100 as its metric's ``scale`` has it)."""

    sample_index: int
    before: float
    after: float
    answer_before: str
    answer_after: str


@dataclass(frozen=True)
class Difference:
    """The second test less the first, with intervals by sample.

    Attributes:
        metric: what the answers are scored by.
        score: in points, over the samples that the metric can score; None if there are none.
        agreement: of the share of the reference's tokens that the engine would choose too.
        logprob: of the reference's tokens, in nats a token. Both are None unless both engines
            scored the same answers.
        most_changed: the sample whose score differs most; None if all answers are the same.
    """

    metric: Metric
    score: Estimate | None
    agreement: Estimate | None = None
    logprob: Estimate | None = None
    most_changed: Change | None = None


def difference(first: Answered, other: Answered, metric: Metric) -> Difference:
    """What differs; both must be of the same samples, which the caller has checked."""
    one, two = (scorable_rows(each.samples, metric) for each in (first, other))
    both = one.index.intersection(two.index)
    one, two = one.loc[both], two.loc[both]
    points = (two[metric.name].to_numpy() - one[metric.name].to_numpy()) * metric.scale
    agreement, logprob = _forced(first.forced, other.forced, first.samples.get("cluster"))
    return Difference(
        metric=metric,
        score=clustered.mean(list(points), [1.0] * len(points), one.get("cluster"))
        if len(points)
        else None,
        agreement=agreement,
        logprob=logprob,
        most_changed=_most_changed(one, two, metric),
    )


def _forced(
    one: Forced | None, other: Forced | None, clusters: pd.Series | None
) -> tuple[Estimate | None, Estimate | None]:
    if one is None or other is None or one.problem or other.problem:
        return None, None
    both = min(len(one.tokens), len(other.tokens))  # one may have had time for more
    tokens = one.tokens[:both]
    if (one.answers_sha256, tokens) != (other.answers_sha256, other.tokens[:both]):
        return None, None
    pairs = ((one.agreed, other.agreed), (one.logprob_difference, other.logprob_difference))
    of_both = None if clusters is None else clusters[:both]
    agreed, logprobs = (
        clustered.mean(list(np.subtract(after[:both], before[:both])), tokens, of_both)
        for before, after in pairs
    )
    return agreed, logprobs


def _most_changed(first: pd.DataFrame, other: pd.DataFrame, metric: Metric) -> Change | None:
    change = (other[metric.name] - first[metric.name]).abs()
    change = change[first["summary"] != other["summary"]]
    if change.empty:
        return None
    before, after = first.loc[change.idxmax()], other.loc[change.idxmax()]
    return Change(
        sample_index=int(before["sample_index"]),
        before=float(before[metric.name]) * metric.scale,
        after=float(after[metric.name]) * metric.scale,
        answer_before=str(before["summary"]),
        answer_after=str(after["summary"]),
    )
