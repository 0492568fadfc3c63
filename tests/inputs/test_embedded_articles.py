"""The embedded dataset keeps the promises its README makes."""

import itertools
import json
import re
from pathlib import Path

import pytest

import loadgen_study

ARTICLES = Path(loadgen_study.__file__).parent / "embedded" / "articles.jsonl"
# Length bands in words, upper bound excluded: a quarter of the articles each, by design.
BANDS = [(100, 160), (160, 250), (250, 350), (350, 451)]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in ARTICLES.read_text(encoding="utf-8").splitlines()]


def words(text: str) -> int:
    return len(text.split())


def sentences(text: str) -> set[str]:
    parts = re.split(r"(?<=[.!?])[\"']?\s+", text)
    return {part.strip(" \"'").lower() for part in parts}


def test_schema(rows):
    assert len(rows) == 64
    for row in rows:
        assert set(row) == {"id", "article", "highlights"}
        assert all(isinstance(value, str) and value.strip() == value for value in row.values())


@pytest.mark.parametrize("key", ["id", "article", "highlights"])
def test_values_are_unique(rows, key):
    assert len({row[key] for row in rows}) == 64


def test_article_lengths_are_bounded_and_spread(rows):
    lengths = [words(row["article"]) for row in rows]
    assert 100 <= min(lengths) <= 130
    assert 400 <= max(lengths) <= 450
    for low, high in BANDS:
        assert sum(low <= length < high for length in lengths) >= 8, (low, high)


@pytest.mark.parametrize("start", range(0, 64, 8))
def test_every_eight_articles_hold_every_band(rows, start):
    lengths = [words(row["article"]) for row in rows[start : start + 8]]
    for low, high in BANDS:
        assert any(low <= length < high for length in lengths), (low, high)


def test_highlights_are_short_sentences(rows):
    for row in rows:
        lines = row["highlights"].split("\n")
        assert 2 <= len(lines) <= 4, row["id"]
        assert all(line.endswith(".") for line in lines), row["id"]
        assert 3 * words(row["highlights"]) < words(row["article"]), row["id"]


def test_no_two_articles_share_a_sentence(rows):
    for one, other in itertools.combinations(rows, 2):
        shared = sentences(one["article"]) & sentences(other["article"])
        assert not shared, (one["id"], other["id"])
