"""How close an engine's answers are to the reference engine's, token by token.

Teacher forcing: the engine scores each token of the reference's answers. Every token is then a
comparison of its own, where free answers never meet again after the first difference.

Sampled answers of two engines differ by chance: they are not compared. Then only those of the
reference's tokens count that were its likeliest.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from loadgen_study.accuracy import clustered
from loadgen_study.accuracy.baseline import Answers, load_answers
from loadgen_study.accuracy.scores import Ids
from loadgen_study.facts.scores import Baseline, Fidelity, Forced
from vllm_loadgen.records.engine import TokenScores

FORCED = "forced.json"
# How long an accuracy test may score them, seconds. A slow CPU scores only the first ones.
FORCED_MAX_S = 45.0

NOT_ASKED = "the engine did not score the reference's answers: the test was cut short"
OTHER_ANSWERS = "the baseline is newer than the engine's scores of its answers"
NO_BASELINE = "no baseline of this model and data is stored"
NO_ANSWERS = "the stored baseline has no answers: make it again (vllm-loadgen baseline)"


def forced(scored: Sequence[TokenScores], reference: Answers, sha256: str, took_s: float) -> Forced:
    """An engine's scores of the reference's answers, summed by answer.

    Args:
        scored: by sample; the last samples may be missing, and answers may be cut short.
        sha256: of the baseline's answers. took_s: duration of the scoring.
    """
    tokens, agreed, difference = [], [], []
    for scores, known in zip(scored, reference.logprobs[: len(scored)], strict=True):
        # Where the reference was not free to choose there is nothing to agree with.
        given = zip(scores.logprobs, scores.chosen, known, strict=False)
        rows = [row for row in given if not math.isnan(row[2])]
        tokens.append(len(rows))
        agreed.append(sum(chosen for _, chosen, _ in rows))
        difference.append(math.fsum(own - theirs for own, _, theirs in rows))
    return Forced(
        answers_sha256=sha256,
        tokens=tuple(tokens),
        agreed=tuple(agreed),
        logprob_difference=tuple(difference),
        duration_s=round(took_s, 1),
    )


def against_baseline(
    folder: Path,
    answers: Sequence[Ids],
    known: Baseline | None,
    clusters: Sequence[int] | None = None,
) -> tuple[Fidelity | None, str]:
    """The fidelity of an accuracy test, or why there is none.

    Args:
        folder: of the test. answers: token ids by sample.
        known: the baseline of its model and data, None if there is none.
        clusters: of ``clustered.repeats``.
    """
    if known is None:
        return None, NO_BASELINE
    if (reference := load_answers(known)) is None:
        return None, NO_ANSWERS
    asked = Forced.read_if_there(folder / FORCED)
    if asked and not asked.problem and asked.answers_sha256 != known.answers_sha256:
        asked = Forced(problem=OTHER_ANSWERS)
    return fidelity(answers, reference, asked, clusters, known.key.temperature > 0), ""


def fidelity(
    answers: Sequence[Ids],
    reference: Answers,
    asked: Forced | None,
    clusters: Sequence[int] | None = None,
    sampled: bool = False,
) -> Fidelity:
    """The engine's own answers and its scores of the reference's, compared with the reference's.

    Args:
        answers: token ids by sample. asked: None if the engine was not asked.
        clusters: see ``against_baseline``. sampled: whether the answers are.
    """
    free = Fidelity(answers=len(answers)) if sampled else _free(answers, reference)
    if asked is None or asked.problem:
        problem = NOT_ASKED if asked is None else asked.problem
        return free.model_copy(update={"problem": problem})
    of_asked = None if clusters is None else clusters[: len(asked.tokens)]
    known = {
        "forced_answers": len(asked.tokens),
        "forced_tokens": sum(asked.tokens),
        "agreement": clustered.share(asked.agreed, asked.tokens, of_asked),
        "logprob_difference": clustered.mean(asked.logprob_difference, asked.tokens, of_asked),
        "duration_s": asked.duration_s,
    }
    return free.model_copy(update=known)


def _free(answers: Sequence[Ids], reference: Answers) -> Fidelity:
    """The engine's own answers compared with the reference's."""
    same = [_same(*pair) for pair in zip(answers, reference.tokens, strict=True)]
    parted = [tokens for tokens in same if tokens is not None]
    return Fidelity(
        answers=len(same),
        identical=len(same) - len(parted),
        same_tokens_median=float(median(parted)) if parted else None,
    )


def _same(answer: Ids, reference: Sequence[int]) -> int | None:
    """How many first tokens two answers share; None if the answers are the same."""
    if np.array_equal(answer, reference):
        return None
    both = min(len(answer), len(reference))
    differ = np.flatnonzero(np.not_equal(answer[:both], reference[:both]))
    return int(differ[0]) if len(differ) else both
