"""A benchmark of another kind, defined in this file alone: exact match of integers.

It has what ROUGE lacks: a metric of some samples alone, one with a lower and an upper limit,
weights, a column of its own in the data.
"""

import json
import re

import pandas as pd
import pytest
from helpers import echo_params

from loadgen_study import LiveRun
from loadgen_study.accuracy import baseline, scores
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.benchmarks.llama3_1_8b import LLAMA_3_1_8B
from loadgen_study.benchmarks.record import (
    Benchmark,
    DataColumns,
    ReferenceDataset,
    Suite,
    Task,
)
from loadgen_study.facts.scores import Baseline
from loadgen_study.report.display import column_title
from loadgen_study.report.report import Report
from loadgen_study.report.sections import answers
from loadgen_study.rules.conformance import rules_of
from loadgen_study.runs import compare, quality, scoring
from loadgen_study.scorers.scorer import ANSWERS, TOKENS, Metric, Scorer
from loadgen_study.submission.tree import accuracy_text
from vllm_loadgen.errors import ParameterError

INTEGER = re.compile(r"-?\d+")
LENGTH = Metric(
    "tokens_per_sample", "tokens an answer", 0.9, 1.1, total=lambda s: s["output_tokens"].mean()
)


class Integers(Scorer):
    """Whether the last integer of an answer is the reference's."""

    title = "Exact match"
    metrics = (
        Metric("exact_match", "exact match, %"),
        Metric("exact_match_sums", "exact match of sums, %"),
        LENGTH,
        ANSWERS,
        TOKENS,
    )
    unscorable = "they are no integers"
    cure = "Give integers as references"

    def scorable(self, reference: str) -> bool:
        return INTEGER.fullmatch(reference) is not None

    def score(self, samples: pd.DataFrame) -> pd.DataFrame:
        last = samples["summary"].map(lambda text: (INTEGER.findall(text) or [""])[-1])
        right = (last == samples["reference"]).astype(float)
        return samples.assign(
            exact_match=right,
            exact_match_sums=right.where(samples["topic"] == "sum"),
            weight=1 / samples["topic"].map(samples["topic"].value_counts()),
        )


INTEGERS = Task(
    data=DataColumns(text=("question", "answer"), extra=("topic",)),
    embedded="none.jsonl",
    subject="question",
    verb="solves",
    instruction="{input}",
    scorer=Integers(),
    max_new_tokens=64,
)
# The name is one that LoadGen knows.
BENCHMARK = Benchmark(
    name="deepseek-r1",
    suite=Suite("deepseek-r1", "datacenter", frozenset({"Offline"})),
    scenarios={"Offline": "Offline", "Server": "Server"},
    samples=4388,
    task=INTEGERS,
    score={"exact_match": 81.3582, "tokens_per_sample": 3886.2274},
    model=LLAMA_3_1_8B,
    dataset=ReferenceDataset("integers", "Integers"),
    compliance={
        "TEST07": {"metric": "exact_match", "least": 60.698},
        "TEST09": {"least_tokens": 1150.38, "most_tokens": 1406.02},
    },
)
ROWS = [
    {"question": f"{a} {sign} {b} = {told}", "answer": str(right), "topic": topic}
    for a, sign, b, right, told, topic in [
        *((n, "+", n, 2 * n, 2 * n, "sum") for n in range(6)),
        *((n, "*", 3, 3 * n, 3 * n, "product") for n in range(8)),
        (9, "+", 9, 18, 19, "sum"),
        (9, "*", 9, 81, 82, "product"),
    ]
]


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Sixteen questions to an engine that repeats them: 14 hold their answer."""
    monkeypatch.setitem(BENCHMARKS, BENCHMARK.name, BENCHMARK)
    path = tmp_path / "integers.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return echo_params(
        benchmark=BENCHMARK.name,
        scenario="Offline",
        dataset=str(path),
        chat_template=False,
        outputs=str(tmp_path / "out"),
        run_name="r",
        warmup_queries=0,
    )


def scored(right: list[bool], tokens: int = 10) -> pd.DataFrame:
    """The scores of answers to ``ROWS`` of which these are right."""
    told = [row["answer"] if ok else "none" for row, ok in zip(ROWS, right, strict=True)]
    targets = {
        new: [row[old] for row in ROWS]
        for new, old in (("reference", "answer"), ("topic", "topic"))
    }
    return scores.score_tokens(
        [[place] * tokens for place in range(len(ROWS))],
        targets,
        lambda ids: [f"It is {told[one[0]]}" for one in ids],
        INTEGERS.scorer,
    )


ALL, SUMS_WRONG = [True] * 16, [row["topic"] != "sum" for row in ROWS]


def judged(samples: pd.DataFrame, reference: pd.DataFrame):
    scorer = INTEGERS.scorer
    by_sample = {one.name: reference[one.name].tolist() for one in scorer.by_sample}
    key = {
        "weights_sha256": {},
        "dataset_checksum": "",
        "prompts_sha256": "",
        "samples": 16,
        "instruction": None,
        "chat_template": False,
        "max_new_tokens": 64,
        "min_new_tokens": 1,
    }
    known = Baseline(key=key, score=scorer.totals(reference), samples=by_sample, provenance={})
    again = Baseline.model_validate_json(known.model_dump_json())  # a part's NaN is null
    return scores.baseline_verdict(scorer, scorer.totals(samples), again, samples)


def test_a_part_has_its_own_figure_and_weights_decide_the_whole():
    totals = INTEGERS.scorer.totals(scored(SUMS_WRONG))
    # 9 of 16 are right; each of the two topics weighs the same.
    assert totals == {
        "exact_match": 50.0,
        "exact_match_sums": 0.0,
        "tokens_per_sample": 10,
        "gen_num": 16,
        "gen_tok_len": 160,
    }
    no_sums = scored(ALL).query("topic == 'product'")
    assert "exact_match_sums" not in INTEGERS.scorer.totals(no_sums)


def test_verdicts_know_both_limits():
    verdict = judged(scored(ALL), scored(ALL))
    assert verdict.status == "PASS"
    assert verdict.interval_level == 0.975
    assert [row.required for row in verdict.comparisons] == [
        ">= 99.0000",
        ">= 99.0000",
        "9.0 to 11.0",
        "= 16",
    ]
    longer = judged(scored(ALL, tokens=12), scored(ALL))
    assert [row.metric for row in longer.comparisons if not row.met] == ["tokens_per_sample"]
    worse = judged(scored(SUMS_WRONG), scored(ALL))
    part = worse.comparisons[1]
    assert (worse.status, part.ratio, part.ratio_low, part.ratio_high) == ("FAIL", 0, 0, 0)
    nothing = judged(scored(ALL), scored([False] * 16))
    assert [row.metric for row in nothing.undecided] == ["exact_match", "exact_match_sums"]


def test_an_upper_limit_alone_wants_less():
    errors = Metric("errors", "errors", lower=None, upper=1.01)
    assert errors.judged(5.0, 5.0) == errors.judged(5.0, 5.0, strict=True) == ("<= 5.0500", True)
    assert errors.judged(6.0, 5.0) == ("<= 5.0500", False)
    assert errors.needed == "101 %"


def test_the_checkers_file_and_the_official_limits_are_of_its_metrics():
    totals = INTEGERS.scorer.totals(scored(ALL))
    text = accuracy_text(INTEGERS.scorer, totals, "ab")
    assert re.fullmatch(r".*'exact_match': ([\d.]+),.*\nhash=ab\n", text)
    rows = scores.official_verdict(totals, BENCHMARK).comparisons
    assert [row.required for row in rows] == [">= 80.5446", "3497.6 to 4274.9"]
    assert [row.met for row in rows] == [True, False]


@pytest.mark.slow  # the first to import datasets
def test_data_without_the_tasks_columns_are_refused(params):
    bare = params.dataset.replace("integers", "bare")
    with open(bare, "w", encoding="utf-8") as file:
        file.write('{"article": "a", "highlights": "b"}\n')
    with pytest.raises(ParameterError, match="the columns question, answer and topic"):
        LiveRun.start(params.changed(dataset=bare))


def test_parameters_are_the_tasks_where_none_are_given(params):
    assert (params.instruction, params.max_new_tokens) == ("{input}", 32)
    given = params.from_dict({"benchmark": BENCHMARK.name, "scenario": "Offline"})
    assert (given.instruction, given.max_new_tokens) == ("{input}", 64)


@pytest.mark.process
def test_compliance_tests_judge_answers_and_their_lengths(params):
    with LiveRun.start(params) as live:
        for name in ("TEST07", "TEST09"):
            live.perform("compliance", name)
    assert (verdict := live.verify("TEST07")).status == "PASS"
    assert "Accuracy score: 87.3016" in verdict.lines
    assert live.verify("TEST09").status == "FAIL"  # a mean of 1150 tokens is gpt-oss-120b's
    tests = live.read().summary.tests
    assert [tests[name].verdict for name in ("TEST07", "TEST09")] == ["PASS", "FAIL"]


@pytest.mark.process
def test_it_is_scored_judged_reported_and_compared(params, monkeypatch):
    with LiveRun.start(params) as live:
        live.perform("accuracy")
        live.perform("performance")
    samples, scorer = live.score(), INTEGERS.scorer
    run = live.read()
    assert run.accuracy.verdict.status == "NO BASELINE"
    assert run.score == run.accuracy.score["exact_match"] == 87.3016  # the mean of 6/7 and 8/9
    table = scores.sample_table(samples, live.samples.texts, run.task)
    assert table.columns.tolist()[2:] == [
        "question",
        "reference",
        "summary",
        "exact_match",
        "exact_match_sums",
    ]

    by_sample = {one.name: samples[one.name].tolist() for one in scorer.by_sample}
    known = Baseline(
        key=scoring.baseline_key(live), score=run.accuracy.score, samples=by_sample, provenance={}
    )
    monkeypatch.setattr(baseline, "load_baseline", lambda *_: known)
    live.score()
    run = live.read()
    assert run.accuracy.verdict.status == "PASS"
    text, frame, *_ = Report(run).accuracy().parts
    assert "exact match, % 100.0 %" in text
    assert list(frame.index) == [
        "exact match, %",
        "exact match of sums, %",
        "tokens an answer",
        "answers",
    ]
    accuracy = next(rule for rule in rules_of(run) if rule.id == "accuracy")
    assert "tokens_per_sample expected=3497.6 to 4274.9" in accuracy.complaints[-1].message

    digest = compare.digest(run)
    sent = compare.Digest.model_validate_json(digest.model_dump_json())
    figures = compare.figures_table([digest, sent])
    assert figures.loc["exact match, %"].tolist() == ["87.30", "87.30"]
    (beside,) = quality.compare_answers([("one", run), ("other", run)])
    shown = answers.table([beside])
    assert shown.loc["other", "exact match, %, points"].startswith("+0.00")
    assert column_title("exact_match_sums") == "exact match of sums, %"
    everything = " ".join(
        str(part)
        for name in ("headline", "summary", "accuracy", "conformance")
        for part in getattr(Report(run), name)().parts
    )
    assert "ROUGE" not in everything
