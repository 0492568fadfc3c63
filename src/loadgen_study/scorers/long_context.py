"""Long contexts: summaries, needles and questions, judged by the column ``metric``.

Source: mlcommons/inference v6.1, language/llama3.1-405b/evaluate-accuracy.py.
"""

import math
import re
from collections.abc import Mapping

import pandas as pd

from loadgen_study.scorers.rouge import LENGTH, PACKAGES, rouge_metric, with_rouge, with_sentences
from loadgen_study.scorers.scorer import (
    ANSWERS,
    NOT_SCORED,
    TOKENS,
    TOKENS_PER_SAMPLE,
    Judge,
    Metric,
    Scorer,
    unjudged,
)

ROUGE_L = "rougeL"
_NEEDLE = re.compile(r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}")


class LongContext(Scorer):
    """ROUGE-L of summaries, and exact match of needles and questions as one."""

    title = "Long context"
    metrics = (
        rouge_metric(ROUGE_L),
        Metric("exact_match", "exact match, %"),
        TOKENS_PER_SAMPLE,
        # The reference gives a random needle most of its score, and an empty answer all of it.
        Metric("exact_match_sane", "whole needles and answers found, %", lower=None),
        unjudged(LENGTH),
        ANSWERS,
        TOKENS,
        NOT_SCORED,
    )
    packages = PACKAGES

    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        samples = with_sentences(samples)
        scored = samples.assign(
            exact_match=_judged(_OFFICIAL, samples),
            exact_match_sane=_judged(_SANE, samples),
            not_scored=~samples["metric"].isin(["rouge", *_OFFICIAL]),
        )
        return with_rouge(scored, [ROUGE_L], samples["metric"] == "rouge")


def _judged(judges: Mapping[str, Judge], samples: pd.DataFrame) -> list[float]:
    """The score of each sample; NaN where its metric has no judge."""
    rows = zip(samples["metric"], samples["summary"], samples["reference"], strict=True)
    return [judges[name](*texts) if name in judges else math.nan for name, *texts in rows]


def needles(answer: str, label: str) -> float:
    """Share of a needle's characters that occur anywhere in the wanted needle at its position.

    The mean over the answer's needles, rounded to 4 digits. The reference applies RULER's metric,
    which takes a list of needles, to the characters of one: a random UUID scores about 0.9.
    """
    found, wanted = _NEEDLE.findall(answer), _NEEDLE.findall(label)
    if not found:
        return 0.0
    shares = [
        sum(character.lower() in one.lower() for character in other) / len(other)
        for one, other in zip(found, wanted, strict=False)
    ]
    return round(sum(shares) / len(found) * 100, 2) / 100


def question(answer: str, label: str) -> float:
    """Whether an answer, from the last "Answer: " on, is within the label or contains one of its
    entries, which "|" separates. An empty answer is within any label.
    """
    answer = answer.rpartition("Answer: ")[2]
    return float(answer in label or any(entry in _compact(answer) for entry in _entries(label)))


def whole_needles(answer: str, label: str) -> float:
    """Share of the label's needles that an answer contains whole."""
    wanted = _NEEDLE.findall(label.lower())
    return sum(one in answer.lower() for one in wanted) / len(wanted) if wanted else math.nan


def whole_answer(answer: str, label: str) -> float:
    """Whether an answer, from the last "Answer: " on, contains one of the label's entries."""
    text = _compact(answer.rpartition("Answer: ")[2])
    return float(any(entry and entry in text for entry in _entries(label)))


def _entries(label: str) -> list[str]:
    return [_compact(entry) for entry in label.split("|")]


def _compact(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


_OFFICIAL = {"niah_em": needles, "qa_em": question}
_SANE = {"niah_em": whole_needles, "qa_em": whole_answer}
