"""Texts, sums and code in one data set, judged by the column ``dataset``.

Source: mlcommons/inference v6.1, language/mixtral-8x7b/evaluate-accuracy.py, and the limits in
tools/submission/submission_checker/constants.py.
"""

import re
from dataclasses import replace

import pandas as pd

from loadgen_study.scorers.rouge import PACKAGES, rouge_metric, with_rouge, with_sentences
from loadgen_study.scorers.scorer import (
    ANSWERS,
    NOT_SCORED,
    TOKENS,
    TOKENS_PER_SAMPLE,
    Metric,
    Scorer,
)

ROUGE_NAMES = ("rouge1", "rouge2", "rougeL")
TEXTS, SUMS = "OpenOrca", "GSM8K"
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
    packages = PACKAGES

    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        kinds = samples["dataset"]
        compared = with_sentences(samples, kinds == TEXTS)
        pairs = zip(compared["summary"], compared["reference"], strict=True)
        right = pd.Series([equal_sums(*pair) for pair in pairs], samples.index, float)
        scored = compared.assign(
            gsm8k=right.where(kinds == SUMS), not_scored=~kinds.isin([TEXTS, SUMS])
        )
        return with_rouge(scored, ROUGE_NAMES, kinds == TEXTS)


def equal_sums(answer: str, reference: str) -> float:
    """Whether the number of an answer is the reference's.

    The answer's is the first number after the last "The answer is", or else the last; text from
    "Q:" at the start of a line on, a next question, is ignored.
    """
    text = answer.split("\nQ:")[0]
    _, delimiter, rest = text.rpartition(_DELIMITER)
    numbers = _NUMBER.findall(rest)[:1] if delimiter else []
    try:
        number = (numbers or _NUMBER.findall(text)[-1:])[0].replace(",", "")
        return float(float(number) == float(reference))
    except (IndexError, ValueError):  # no number
        return 0.0
