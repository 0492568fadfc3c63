"""The built-in data of each benchmark: columns, ids, answers that a scorer takes for right."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import loadgen_study
from loadgen_study.scorers import long_context
from loadgen_study.scorers.exact_match import deepseek_r1, gpt_oss
from loadgen_study.scorers.long_context import LongContext
from loadgen_study.scorers.mixed import Mixed

EMBEDDED = Path(loadgen_study.__file__).parent / "embedded"
COLUMNS = {
    "orca.jsonl": ["id", "system_prompt", "question", "output"],
    "long.jsonl": ["id", "input", "gt_output", "metric"],
    "reasoning.jsonl": ["id", "question", "ground_truth", "dataset"],
    "sampled.jsonl": ["id", "question", "ground_truth", "dataset"],
    "mixed.jsonl": ["id", "dataset", "input", "gt_output"],
}
PARTS = {
    "orca.jsonl": (None, {}),
    "long.jsonl": ("metric", {"niah_em": 12, "qa_em": 12, "rouge": 8}),
    "reasoning.jsonl": ("dataset", dict.fromkeys(["gpqa", "mmlu_pro", "aime", "math500"], 16)),
    "sampled.jsonl": ("dataset", {"aime25": 48, "gpqa_diamond": 40}),
    "mixed.jsonl": ("dataset", {"GSM8K": 32, "OpenOrca": 16, "MBXP": 8}),
}
# A right answer in the format that a question of each subset asks for.
RIGHT = {
    "gpqa": "ANSWER: {}",
    "gpqa_diamond": "ANSWER: {}",
    "mmlu_pro": "So\nANSWER: {}",
    "aime": "Answer: {}",
    "aime25": "Answer: {}",
    "math500": r"It is $\boxed{{{}}}$.",
    "GSM8K": "1 and 2. The answer is {}.",
    "OpenOrca": "{}",
    "MBXP": "{}",
}


def read(name: str) -> pd.DataFrame:
    lines = (EMBEDDED / name).read_text(encoding="utf-8").splitlines()
    return pd.DataFrame(map(json.loads, lines), dtype=str)


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_are_texts_with_ids(name):
    rows = read(name)
    assert list(rows) == COLUMNS[name]
    assert rows["id"].is_unique
    assert rows.map(lambda text: isinstance(text, str) and bool(text.strip())).all(axis=None)


@pytest.mark.parametrize("name", COLUMNS)
def test_any_part_is_spread_over_the_file(name):
    rows, (column, parts) = read(name), PARTS[name]
    if column is None:
        assert len(rows) == 64
    else:
        assert rows[column].value_counts().to_dict() == parts
        assert set(rows[column][:16]) == set(parts)


@pytest.mark.parametrize("name", ["orca.jsonl", "long.jsonl", "reasoning.jsonl", "mixed.jsonl"])
def test_no_question_is_asked_twice(name):
    rows = read(name)
    assert rows["input" if "input" in rows else "question"].is_unique


def test_each_question_is_sampled_as_often_as_gpt_oss_counts_it():
    rows = read("sampled.jsonl")
    times = Counter(zip(rows["dataset"], rows["question"], strict=True))
    assert {(name, count) for (name, _), count in times.items()} == {
        ("aime25", 8),
        ("gpqa_diamond", 5),
    }
    assert rows.groupby("question")["ground_truth"].nunique().eq(1).all()


@pytest.mark.parametrize(
    ("name", "scorer", "metric"),
    [
        ("reasoning.jsonl", deepseek_r1(), "exact_match"),
        ("sampled.jsonl", gpt_oss(), "exact_match"),
        ("mixed.jsonl", Mixed(), "gsm8k"),
        ("mixed.jsonl", Mixed(), "rouge1"),
    ],
)
def test_a_right_answer_scores_in_every_row(name, scorer, metric):
    rows = read(name).rename(columns={"ground_truth": "reference", "gt_output": "reference"})
    answers = [RIGHT[row.dataset].format(row.reference) for row in rows.itertuples()]
    scored = scorer.score(rows.assign(summary=answers, output_tokens=9))
    assert scored[metric].dropna().eq(1).all()
    assert scored["not_scored"].sum() == (8 if name == "mixed.jsonl" else 0)


def test_the_instruction_is_within_a_question_of_one_letter_or_number():
    rows = read("reasoning.jsonl")
    letters = rows[rows["dataset"] == "mmlu_pro"]
    numbers = rows[rows["dataset"] == "aime"]
    assert letters["question"].str.contains('"ANSWER: "', regex=False).all()
    assert numbers["question"].str.contains('"Answer: "', regex=False).all()


def test_what_is_asked_for_stands_in_the_long_text():
    for row in read("long.jsonl").itertuples():
        assert 700 <= len(row.input.split()) <= 1000
        if row.metric == "niah_em":
            assert row.input.count(row.gt_output) == 1
            assert long_context.whole_needles(row.gt_output, row.gt_output) == 1
        elif row.metric == "qa_em":
            assert any(entry in row.input for entry in row.gt_output.split("|"))


def test_long_texts_are_right_with_their_labels():
    rows = read("long.jsonl").rename(columns={"gt_output": "reference"})
    answers = rows["reference"].str.split("|").str[0]
    scored = LongContext().score(rows.assign(summary=answers, output_tokens=9))
    figures = ["exact_match", "exact_match_sane", "rougeL"]
    assert scored[figures].max(axis=1).eq(1).all()


def test_answers_of_the_reference_are_short():
    words = read("orca.jsonl")["output"].str.split().str.len()
    assert words.between(20, 80).all()
