"""Texts, sums and code in one data set, judged by the column ``dataset``.

Source: mlcommons/inference v6.1, language/mixtral-8x7b/evaluate-accuracy.py, and the limits in
tools/submission/submission_checker/constants.py.
"""

import re
from dataclasses import replace

import pandas as pd

from loadgen_study.scorers.rouge import rouge_metric, sentences, with_rouge
from loadgen_study.scorers.scorer import (
    ANSWERS,
    NOT_SCORED,
    TOKENS,
    TOKENS_PER_SAMPLE,
    Metric,
    Scorer,
)

ROUGE_NAMES = ("rouge1", "rouge2", "rougeL")
TEXTS, SUMS, CODE = "OpenOrca", "GSM8K", "MBXP"
# The checker's limits are 90 % of 144.84 and 110 % of 145.9; here both are shares of 144.84.
LENGTH = replace(TOKENS_PER_SAMPLE, upper=1.1 * 145.9 / 144.84, wanted="90 to 110 %")
_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
_DELIMITER = "The answer is"


class Mixed(Scorer):
    """ROUGE of texts and exact match of sums; code that a model wrote is never run."""

    title = "ROUGE and exact match"
    metrics = (
        *map(rouge_metric, ROUGE_NAMES),
        Metric("gsm8k", "exact match of sums, %"),
        LENGTH,
        ANSWERS,
        TOKENS,
        NOT_SCORED,
    )
    packages = ("evaluate", "rouge-score", "nltk")

    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        kinds = samples["dataset"]
        compared = samples.assign(
            **{
                name: [
                    sentences(text) if kind == TEXTS else text
                    for kind, text in zip(kinds, samples[name], strict=True)
                ]
                for name in ("summary", "reference")
            }
        )
        pairs = zip(compared["summary"], compared["reference"], strict=True)
        right = pd.Series([equal_sums(*pair) for pair in pairs], samples.index, float)
        scored = compared.assign(
            gsm8k=right.where(kinds == SUMS), not_scored=~kinds.isin([TEXTS, SUMS])
        )
        return with_rouge(scored, ROUGE_NAMES, kinds == TEXTS)


def equal_sums(answer: str, reference: str) -> float:
    """Whether the number of an answer is the reference's.

    The first after the last "The answer is", or else the last; of what stands before a next
    question ("Q:" on a line of its own).
    """
    return float((number := _number(answer)) is not None and number == _float(reference))


def _number(answer: str) -> float | None:
    text = answer.split("\nQ:")[0]
    _, delimiter, rest = text.rpartition(_DELIMITER)
    numbers = _NUMBER.findall(rest)[:1] if delimiter else []
    numbers = numbers or _NUMBER.findall(text)[-1:] or [""]
    return _float(numbers[0].replace(",", ""))


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
