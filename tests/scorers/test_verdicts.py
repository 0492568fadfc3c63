"""Verdicts on odd answers are those of MLCommons' scripts, digit for digit where one is given.

fixtures/verdicts.jsonl holds answers made for this test, with what the scripts of
mlcommons/inference v6.1 (b66003e) and openai/prm800k made of them.
"""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.scorers import exact_match, long_context, math500, mixed
from loadgen_study.scorers.exact_match import boxed, final_part, gpt_oss

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "fixtures" / "verdicts.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
JUDGES = {
    **{f"deepseek-r1/{name}": judge for name, judge in exact_match.DEEPSEEK_R1.items()},
    "gpt-oss-120b/gpqa_diamond": exact_match.final_choice,
    "gpt-oss-120b/aime25": exact_match.integer,
    "llama3.1-405b/niah_em": long_context.needles,
    "llama3.1-405b/qa_em": long_context.question,
    "mixtral-8x7b/GSM8K": mixed.equal_sums,
}
# Pieces that the judges look for, between any text.
PIECES = st.sampled_from(
    (
        *(r"\boxed{", "}", "{", "(", ")", "^", ",", "\n", r"\frac", r"\sqrt", "12", "1/2", "nan"),
        *("ANSWER: B", "Answer: 7", "The answer is 7.", "\nQ:", "<|return|>"),
        *("<|channel|>final<|message|>", "12345678-abcd-1234-1234-123456789012"),
        *("9" * 5000, " " * 5000),
    )
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=12).map("".join)


@pytest.mark.parametrize("kind", sorted(JUDGES))
def test_verdicts_are_the_references(kind):
    rows = [row for row in ROWS if row["kind"] == kind]
    got = [JUDGES[kind](row["answer"], row["reference"]) for row in rows]
    decided = [place for place, verdict in enumerate(got) if not math.isnan(verdict)]
    differ = [
        (rows[place], got[place])
        for place in decided
        if round(got[place], 6) != rows[place]["verdict"]
    ]
    assert differ == []
    assert sum(row["verdict"] == 1 for row in rows) >= 18
    assert len(rows) - len(decided) == (14 if kind == "deepseek-r1/math500" else 0)


@pytest.mark.parametrize("kind", sorted(JUDGES))
@given(answer=TEXTS, reference=TEXTS)
def test_any_text_gets_a_verdict(kind, answer, reference):
    verdict = JUDGES[kind](answer, reference)
    assert math.isnan(verdict) or 0 <= verdict <= 1
    assert kind == "deepseek-r1/math500" or not math.isnan(verdict)


@given(TEXTS, st.text(alphabet="xyz .\n", max_size=20))
def test_text_after_the_final_answer_changes_nothing(start, end):
    assert exact_match.choice(f"{start}\nANSWER: C\n{end}", "C") == 1
    assert exact_match.formula(rf"{start} \boxed{{7}} {end}", "7") == 1
    assert exact_match.integer(rf"{start} \boxed{{7}} {end}", "7") == 1
    assert final_part(f"<|channel|>final<|message|>7<|return|>{end}{start}") == "7"
    number = f"{start} The answer is 7 {end}"
    assert mixed.equal_sums(number.replace("\nQ:", ""), "7") == 1


@given(st.integers(0, 99999), st.integers(1, 999))
def test_numbers_are_compared_as_numbers(whole, below):
    assert math500.equal(f"{whole}.0", str(whole)) == 1
    assert math500.equal(f"{whole:,}", str(whole)) == 1
    assert math500.equal(rf"\frac{{{whole}}}{{{below}}}", f"{whole}/{below}") == 1
    assert math500.equal(f"{whole}.5", str(whole)) == 0


def test_what_only_sympy_settles_is_not_decided():
    assert math.isnan(math500.equal("x+1", "1+x"))
    assert math.isnan(math500.equal(r"\sqrt{8}", r"2\sqrt{2}"))
    assert math500.equal(r"\sqrt{8}", "2") == 0
    assert math500.equal("(1,2,3)", "(1,2)") == 0
    assert math500.equal("a+b+c", "c+b+a") == 0  # three letters: the reference does not evaluate


def test_a_text_is_never_evaluated(tmp_path):
    path = tmp_path / "made"
    attack = f"__import__('pathlib').Path('{path}').touch()"
    for judge in JUDGES.values():
        judge(rf"Answer: 1 \boxed{{{attack}}} ANSWER: A", attack)
    assert not path.exists()


def test_only_a_closed_box_counts():
    assert boxed(r"\boxed{1} \boxed{\frac{1}{2}} so") == r"\frac{1}{2}"
    assert boxed(r"\boxed{1} \boxed{2") == ""


def test_a_question_that_is_sampled_often_weighs_as_one():
    rows = [("aime25", "12")] * 8 + [("gpqa_diamond", "B")] * 5 + [("livecodebench_v6", "id")] * 3
    answers = [r"\boxed{12}"] * 6 + ["none"] * 2 + ["B"] * 2 + ["none"] * 3 + ["code"] * 3
    samples = pd.DataFrame(rows, columns=["dataset", "reference"]).assign(
        summary=answers, output_tokens=[3] * 16
    )
    totals = gpt_oss().totals(gpt_oss().score(samples))
    assert totals == {
        "exact_match": 57.5,  # of (6/8 + 2/5) / (8/8 + 5/5)
        "exact_match_gpqa": 40.0,
        "exact_match_aime": 75.0,
        "tokens_per_sample": 3.0,
        "gen_num": 16,
        "gen_tok_len": 48,
        "not_scored": 3,
        "undecided": 0,
    }
