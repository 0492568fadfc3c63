"""What each scorer makes of a few answers: columns, totals, what the checker's file holds."""

import json
import math
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from loadgen_study.scorers import long_context, mixed, rouge, scorer
from loadgen_study.scorers.exact_match import deepseek_r1
from loadgen_study.scorers.long_context import LongContext
from loadgen_study.scorers.mixed import Mixed
from loadgen_study.scorers.rouge import Rouge
from loadgen_study.scorers.unscored import write_unscored

NEEDLE = "12345678-abcd-1234-1234-123456789012"


def samples(column: str, rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Rows of (value of the column, answer, reference), 4 tokens each."""
    frame = pd.DataFrame(rows, columns=[column, "summary", "reference"])
    return frame.assign(sample_index=range(len(rows)), output_tokens=4, scorable=True)


REASONING = samples(
    "dataset",
    [
        ("gpqa", "ANSWER: B", "B"),
        ("math500", r"\boxed{\sqrt{8}}", r"2\sqrt{2}"),
        ("aime", "Answer: 12", "13"),
        ("livecodebench", "```python\nprint('é')\n```", "id-1"),
        ("poems", "x", "x"),
    ],
)


def test_a_record_chooses_variants_and_counts():
    rows = samples("origin", [("cot", "A dog ran. It sat.", "A dog ran.")])
    found = Rouge(("rougeL",), (scorer.TOKENS_PER_SAMPLE, scorer.unjudged(rouge.LENGTH)))
    totals = found.totals(found.score(rows))
    assert totals == {"rougeL": 75.0, "tokens_per_sample": 4.0, "gen_len": 18}
    assert found.printed(totals) == {"rougeL": "75.0", "tokens_per_sample": 4.0}


def test_a_subset_without_a_judge_has_no_score_and_is_counted():
    judge = deepseek_r1()
    scored = judge.score(REASONING)
    totals = judge.totals(scored)
    assert scored["exact_match"].fillna(-1).tolist() == [1, -1, 0, -1, -1]
    assert (totals["exact_match"], totals["not_scored"], totals["undecided"]) == (50.0, 2, 1)
    assert "exact_match_math500" not in totals
    assert "exact_match" not in judge.printed(totals)
    whole = judge.totals(judge.score(REASONING.head(1)))
    assert judge.printed(whole)["exact_match"] == 100.0


def test_code_is_written_for_a_container(tmp_path):
    judge, path = deepseek_r1(), tmp_path / "unscored.jsonl"
    assert write_unscored(judge, judge.score(REASONING), path) == 2
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        "dataset": "livecodebench",
        "answer": "```python\nprint('é')\n```",
        "ground_truth": "id-1",
        "index": 3,
    }
    path.unlink()
    assert write_unscored(judge, judge.score(REASONING.head(3)), path) == 0
    assert not path.exists()
    assert write_unscored(Rouge(), Rouge().score(REASONING.head(1)), path) == 0


def test_needles_and_questions_are_pooled_and_have_a_sane_figure():
    other = NEEDLE.replace("abcd", "dcba")
    rows = [
        ("rouge", "A dog ran. It sat.", "A dog ran."),
        ("niah_em", f"It is {other}.", NEEDLE),
        ("qa_em", "", "Paris|City of Light"),
        ("qa_em", "I think. Answer: city of  light!", "Paris|City of Light"),
        ("translation", "x", "y"),
    ]
    found = LongContext()
    scored = found.score(samples("metric", rows))
    assert scored["exact_match"].fillna(-1).tolist() == [-1, 1, 1, 1, -1]
    assert scored["exact_match_sane"].fillna(-1).tolist() == [-1, 0, 0, 1, -1]
    totals = found.totals(scored)
    assert totals == {
        "rougeL": 75.0,
        "exact_match": 100.0,
        "tokens_per_sample": 4.0,
        "exact_match_sane": 33.3333,
        "gen_len": 94,
        "gen_num": 5,
        "gen_tok_len": 20,
        "not_scored": 1,
    }
    assert "exact_match_sane" not in found.printed(totals)


def test_a_needle_is_compared_by_its_characters():
    assert long_context.needles(NEEDLE, "zzzzzzzz-1234-1234-1234-123456789012") == 0.7778
    assert long_context.whole_needles(NEEDLE.upper(), NEEDLE) == 1
    assert math.isnan(long_context.whole_needles(NEEDLE, "no needle"))


def test_texts_sums_and_code_have_figures_of_their_own():
    rows = [
        ("OpenOrca", "A dog ran. It sat.", "A dog ran."),
        ("GSM8K", "7 + 5 = 12. The answer is 1,200.\nQ: What is 3?", "1200"),
        ("GSM8K", "I do not know.", "3"),
        ("MBXP", "def f(): pass", "assert f()"),
    ]
    found = Mixed()
    scored = found.score(samples("dataset", rows))
    assert scored["rougeL"].notna().tolist() == [True, False, False, False]
    assert scored["summary"][1] == rows[1][1]
    totals = found.totals(scored)
    assert totals == {
        "rouge1": 75.0,
        "rouge2": 66.6667,
        "rougeL": 75.0,
        "gsm8k": 50.0,
        "tokens_per_sample": 4.0,
        "gen_num": 4,
        "gen_tok_len": 16,
        "not_scored": 1,
    }
    no_texts = found.totals(found.score(samples("dataset", rows[1:])))
    assert "rouge1" not in no_texts


def test_the_limits_on_mixtrals_tokens_are_of_two_figures():
    assert mixed.LENGTH.judged(160.4, 144.84) == ("130.4 to 160.5", True)
    assert mixed.LENGTH.judged(160.5, 144.84)[1] is False


@pytest.mark.parametrize(
    ("formula", "given"),
    [(r"2\sqrt{2}", True), ("9^{9^{9}}", False), ("9^{9999}", False), ("9!", False)],
)
def test_math_verify_reads_latex_alone(monkeypatch, formula, given):
    seen = []

    def parse(text, config, fallback_mode):
        seen.append((text, config))
        return text

    library = SimpleNamespace(
        LatexExtractionConfig=lambda: "latex",
        parse=parse,
        verify=lambda one, other, raise_on_error: one == other,
    )
    monkeypatch.setitem(sys.modules, "math_verify", library)
    rows = samples("dataset", [("math500", rf"\boxed{{{formula}}}", formula)])
    verdict = deepseek_r1().score(rows)["math_verify"][0]
    assert seen == [(rf"\boxed{{{formula}}}", ["latex"])] * (2 if given else 0)
    assert verdict == 1 if given else math.isnan(verdict)


def test_without_math_verify_there_is_no_verdict_of_its(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert deepseek_r1().score(REASONING)["math_verify"].isna().all()
