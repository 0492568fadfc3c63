"""Exact match by subset: a letter, an integer or a formula at the end of an answer.

Sources: mlcommons/inference v6.1, language/deepseek-r1/eval_accuracy.py; for gpt-oss-120b
language/gpt-oss-120b/eval_accuracy.py and eval_mlperf_accuracy.py. A model's text is compared,
never evaluated; code in it is never run.
"""

import math
import re
from collections.abc import Mapping

import pandas as pd

from loadgen_study.scorers import math500
from loadgen_study.scorers.scorer import (
    ANSWERS,
    NOT_SCORED,
    TOKENS,
    TOKENS_PER_SAMPLE,
    UNDECIDED,
    Judge,
    Metric,
    Scorer,
    unjudged,
)

# Possessive (*+): no backtracking over thousands of blanks in an answer.
_LAST_ANSWER = {
    last: re.compile(
        rf"\b(?:ANSWER|FINAL\s*ANSWER)\b\s*+[:=]?\s*+\(?\s*+([A-{last}])(?![A-Za-z])",
        re.IGNORECASE,
    )
    for last in "DJ"
}
_FIRST_LETTER = re.compile(r"[^a-zA-Z]*([A-D])(?:[^a-zA-Z]|$)", re.IGNORECASE)
_FIRST_ANSWER = re.compile(r"\bAnswer\s*+[:.]?\s*+([A-D])\b", re.IGNORECASE)
_LETTER = re.compile(r"\b([A-J])\b", re.IGNORECASE)
_FINAL = re.compile(r"<\|channel\|>final[^<]*<\|message\|>(.*?)(?:<\|return\|>|\Z)", re.DOTALL)
VERIFIED = Metric("math_verify", "formulas equal by math-verify (unofficial), %", lower=None)
# eval_mlperf_accuracy.py: samples of one question, by the whole name of the subset.
GPT_OSS_REPEATS = {"aime25": 8, "gpqa_diamond": 5, "livecodebench_v6": 3}


def choice(answer: str, reference: str) -> float:
    """Judges the last "ANSWER: X" with a letter from A to D."""
    return _last_letter(_unquoted(answer.strip()), reference, "D")


def wide_choice(answer: str, reference: str) -> float:
    """The same up to J; without such a line the last letter that is a word of its own counts."""
    return _last_letter(_unquoted(answer.strip()), reference, "J")


def _last_letter(text: str, reference: str, last: str) -> float:
    found = _LAST_ANSWER[last].findall(text) or (_LETTER.findall(text) if last == "J" else [])
    return float(bool(found) and found[-1].upper() == reference.upper())


def final_choice(answer: str, reference: str) -> float:
    """As ``choice``, of Harmony's format: the letter that begins the final part, or else its first
    "Answer: X", or else the last "ANSWER: X" of the whole text.
    """
    part = _unquoted(re.sub(r"\*\*([^*]+)\*\*", r"\1", final_part(answer)))
    if found := _FIRST_LETTER.match(part.strip()) or _FIRST_ANSWER.search(part):
        return float(found[1].upper() == reference.upper())
    return _last_letter(_unescaped(answer.strip()), reference, "D")


def final_part(answer: str) -> str:
    r"""The first final channel of Harmony's format, up to ``<|return|>``; without one the whole.

    As in the reference, text between "final" and ``<|message|>`` is skipped.
    """
    text = answer.strip()
    found = _FINAL.search(text)
    return found[1].strip() if found else text


def _unquoted(text: str) -> str:
    r"""Without the brackets of a Python list of one text; \n and \' are unescaped."""
    if text.startswith(("['", '["')) and text.endswith(("']", '"]')):
        text = text[2:-2].strip()
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return text.replace(r"\n", "\n").replace(r"\'", "'")


def integer(answer: str, reference: str) -> float:
    r"""Judges the last \boxed{integer}, or else the last "Answer: integer", from 0 to 999."""
    text = answer.strip()
    found = re.findall(r"\\boxed{\s*(\d+)\s*}", text) or re.findall(
        r"Answer:\s*(\d+)(?!\.)\b", text, re.IGNORECASE
    )
    try:
        value = int(found[-1])
        return float(0 <= value <= 999 and value == int(reference))
    except (IndexError, ValueError):  # nothing found; thousands of digits; not an integer
        return 0.0


def formula(answer: str, reference: str) -> float:
    r"""Judges the last \boxed{...}."""
    found = boxed(answer)
    return math500.equal(found, reference) if found and reference else 0.0


def verified(answer: str, reference: str) -> float:
    """The same by the package math-verify, if it is installed."""
    return math500.verified(boxed(answer), reference)


def boxed(answer: str) -> str:
    r"""The content of an answer's last \boxed{...}; empty if there is none, or it is not closed."""
    _, opening, text = answer.strip().rpartition(r"\boxed{")
    depth = 1
    for place, character in enumerate(text if opening else ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[:place].strip()
    return ""


DEEPSEEK_R1: Mapping[str, Judge] = {
    "gpqa": choice,
    "mmlu_pro": wide_choice,
    "math500": formula,
    "aime": integer,
}
GPT_OSS: Mapping[str, Judge] = {"gpqa": final_choice, "aime": integer}


class ExactMatch(Scorer):
    """Whether an answer ends in the reference, judged by the subset in the column ``dataset``.

    Subsets without a judge, such as code, are not scored.

    Args:
        judges: by a part of the subset's name; the first match judges.
        repeats: samples of one question, by the whole name of the subset: a sample weighs
            1 / repeats; 1 in other subsets.
        tokens: the metric of the answers' length.
    """

    title = "Exact match"

    def __init__(
        self,
        judges: Mapping[str, Judge],
        repeats: Mapping[str, int] | None = None,
        tokens: Metric = TOKENS_PER_SAMPLE,
    ) -> None:
        self.judges, self.repeats = judges, repeats
        by_subset = {f"exact_match_{name}": f"exact match of {name}, %" for name in judges}
        self.metrics = (
            Metric("exact_match", "exact match, %"),
            *(Metric(*named, lower=None) for named in by_subset.items()),
            *([VERIFIED] if formula in judges.values() else []),
            *(tokens, ANSWERS, TOKENS, NOT_SCORED, UNDECIDED),
        )

    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        subsets = samples["dataset"].map(self._subset)
        references = samples["reference"].astype(str)
        rows = list(zip(subsets, samples["summary"], references, strict=True))
        scored = samples.assign(
            exact_match=[self.judges[name](*texts) if name else math.nan for name, *texts in rows],
            not_scored=subsets == "",
        )
        scored["undecided"] = scored["exact_match"].isna() & ~scored["not_scored"]
        for name, judge in self.judges.items():
            scored[f"exact_match_{name}"] = scored["exact_match"].where(subsets == name)
            if judge is formula:
                scored[VERIFIED.name] = [
                    verified(*texts) if subset == name else math.nan for subset, *texts in rows
                ]
        if self.repeats is not None:
            scored["weight"] = 1 / samples["dataset"].str.lower().map(self.repeats).fillna(1)
        return scored

    def _subset(self, dataset: str) -> str:
        """The key of ``judges`` that a subset's name contains; empty if none."""
        return next((name for name in self.judges if name in dataset.lower()), "")

    def printed(self, score: dict[str, int | float]) -> dict[str, int | float | str]:
        """Omits exact_match if samples lack a verdict: the reference's figure covers all."""
        found = super().printed(score)
        if score.get(NOT_SCORED.name) or score.get(UNDECIDED.name):
            found.pop("exact_match", None)
        return found


def deepseek_r1() -> ExactMatch:
    """The plain mean over all samples."""
    return ExactMatch(DEEPSEEK_R1)


def gpt_oss() -> ExactMatch:
    """Questions of a subset weigh the same, however often each is sampled."""
    scorer = ExactMatch(GPT_OSS, GPT_OSS_REPEATS, unjudged(TOKENS_PER_SAMPLE))
    scorer.special_tokens = True  # Harmony's channels are among them
    return scorer
