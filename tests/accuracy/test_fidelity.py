"""The reference's answers, kept and compared with; what cannot be trusted is named."""

import json
import math

import pytest
from helpers import DATASET, MODEL

from loadgen_study.accuracy import baseline, clustered, fidelity
from loadgen_study.accuracy.baseline import Answers
from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.facts.inputs import Dataset, Model
from loadgen_study.facts.scores import Baseline, Forced, Score
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import TokenScores

ANSWERS = Answers([[5, 6, 7], [8, 9]], [[-0.1, math.nan, -0.30004], [-0.5, -1.5]])
ROUGE = {"rouge1": 40.0, "rouge2": 20.0, "rougeL": 30.0, "rougeLsum": 35.0}


def key(**changes):
    found = Dataset(**DATASET | {"samples": 2} | changes)
    return baseline.baseline_key(Model(**MODEL), found, TestParams())


def stored(**changes) -> Baseline:
    score = Score(**ROUGE, gen_len=100, gen_num=2, gen_tok_len=5)
    return Baseline(**{"key": key(), "score": score, "provenance": {}} | changes)


@pytest.fixture
def path(tmp_path):
    """A file with one baseline and its answers."""
    path = tmp_path / "baseline.json"
    baseline.save_baseline(stored(), ANSWERS, path)
    return path


def answers_file(path):
    return next(path.parent.glob("*.parquet"))


def loaded(path) -> Answers | None:
    return baseline.load_answers(baseline.load_baseline(key(), SUMMARIES.scorer, path), path)


def changed(path, change) -> None:
    entries = json.loads(path.read_text())
    change(entries[0])
    path.write_text(json.dumps(entries))


# What is kept -------------------------------------------------------------------------------------
def test_answers_come_back(path):
    found = loaded(path)
    assert found.tokens == ANSWERS.tokens
    # vLLM refuses numpy's numbers.
    assert {type(token) for row in found.tokens for token in row} == {int}
    assert found.logprobs[0] == pytest.approx([-0.1, math.nan, -0.3], abs=1e-6, nan_ok=True)
    assert found.logprobs[1] == pytest.approx([-0.5, -1.5])


def test_a_baseline_made_anew_leaves_no_old_answers(path):
    before = answers_file(path)
    baseline.save_baseline(stored(), Answers([[1, 2, 3], [4, 5]], ANSWERS.logprobs), path)
    assert not before.exists()
    assert loaded(path).tokens == [[1, 2, 3], [4, 5]]


def test_an_old_baseline_has_no_answers_and_is_read(path):
    changed(path, lambda entry: [entry.pop(name) for name in ("answers_sha256", "schema_version")])
    assert loaded(path) is None


# What cannot be trusted ---------------------------------------------------------------------------
def test_answers_cut_short_are_named(path):
    file = answers_file(path)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(BenchmarkError, match=r"\.parquet is not the file .*cut short, or changed"):
        loaded(path)


def test_missing_answers_are_named(path):
    answers_file(path).unlink()
    with pytest.raises(BenchmarkError, match=r"\.parquet is missing"):
        loaded(path)


def test_answers_of_other_data_are_named(tmp_path):
    path = tmp_path / "baseline.json"
    baseline.save_baseline(stored(), Answers([[1], [2], [3]], [[0.0]] * 3), path)
    words = r"holds 3 answers of 3 tokens, and its baseline 2 of 5: it is of other data"
    with pytest.raises(BenchmarkError, match=words):
        loaded(path)


def test_a_baseline_of_a_later_version_is_named(path):
    changed(path, lambda entry: entry.update(schema_version=2))
    with pytest.raises(BenchmarkError, match="schema version 2 is newer than this program's"):
        loaded(path)


@pytest.mark.parametrize("samples", [{"rouge1": [0.4]}, {"rouge1": [0.4, 0.4]}])
def test_scores_cut_short_are_named(path, samples):
    changed(path, lambda entry: entry.update(samples=samples))
    with pytest.raises(BenchmarkError, match=r"scores of 2 samples: it was cut short"):
        loaded(path)


def test_the_nearest_baseline_says_what_differs(path):
    assert baseline.nearest(key(samples=1, checksum="sha256:dd"), path) == (
        "dataset_checksum, samples"
    )
    other = key().model_copy(update={"weights_sha256": {"model.safetensors": "ee"}})
    assert baseline.nearest(other, path) == ""


# What is compared ---------------------------------------------------------------------------------
def told(logprobs, chosen) -> TokenScores:
    return TokenScores(logprobs=logprobs, chosen=chosen)


def test_what_the_reference_did_not_choose_is_not_counted():
    scores = [told([-0.2, -9.0, -0.3], [True, False, False]), told([-0.5, -1.0], [True, True])]
    found = fidelity.forced(scores, ANSWERS, "ab", 1.25)
    assert (found.tokens, found.agreed) == ((2, 2), (1, 2))
    assert found.logprob_difference == pytest.approx((-0.1 + 0.00004, 0.5))


def test_an_answer_that_did_not_fit_counts_as_far_as_it_was_scored():
    scores = [told([-0.2], [True]), told([-0.5], [False])]
    found = fidelity.forced(scores, ANSWERS, "ab", 1.0)
    assert (found.tokens, found.agreed) == ((1, 1), (1, 0))


def test_answers_that_there_was_no_time_for_are_left_out():
    found = fidelity.forced([told([-0.2, -0.2], [True, True])], ANSWERS, "ab", 1.0)
    assert (found.tokens, found.agreed) == ((1,), (1,))
    shown = fidelity.fidelity(ANSWERS.tokens, ANSWERS, found)
    assert (shown.answers, shown.forced_answers, shown.forced_tokens) == (2, 1, 1)


def test_free_answers_part_at_the_first_other_token():
    reference = Answers([[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2]], [[0.0]] * 4)
    answers = [[1, 2, 3], [1, 9, 3], [9, 2, 3], [1, 2, 3]]
    found = fidelity.fidelity(answers, reference, None)
    assert (found.answers, found.identical, found.same_tokens_median) == (4, 1, 1)
    assert found.problem == fidelity.NOT_ASKED
    assert found.agreement is None
    assert fidelity.fidelity(reference.tokens, reference, None).same_tokens_median is None


def test_sampled_answers_are_not_compared_and_forced_ones_are():
    asked = Forced(answers_sha256="ab", tokens=[10] * 8, agreed=[9, 8] * 4,
                   logprob_difference=[-1.0, 1.0] * 4)  # fmt: skip
    reference = Answers([[1, 2]] * 8, [[0.0]] * 8)
    found = fidelity.fidelity([[1]] * 8, reference, asked, [0, 1, 2, 3] * 2, sampled=True)
    assert (found.answers, found.identical, found.same_tokens_median) == (8, None, None)
    # Two answers to each prompt, which agree as often.
    alone = clustered.share([9, 8, 9, 8], [10] * 4)
    assert (found.agreement.low, found.agreement.high) == pytest.approx((alone.low, alone.high))
    assert found.forced_tokens == 80


def test_agreement_has_its_interval():
    asked = Forced(answers_sha256="ab", tokens=[100] * 8, agreed=[99, 98, 97, 100] * 2,
                   logprob_difference=[-1.0, 1.0] * 4)  # fmt: skip
    reference = Answers([[1]] * 8, [[0.0]] * 8)
    found = fidelity.fidelity(reference.tokens, reference, asked)
    assert found.forced_tokens == 800
    assert found.agreement.value == pytest.approx(0.985)
    assert 0.96 < found.agreement.low < 0.985 < found.agreement.high < 1
    assert found.logprob_difference.value == 0
    assert found.logprob_difference.high == -found.logprob_difference.low > 0


def test_why_there_is_none_is_said(path, tmp_path, monkeypatch):
    known = baseline.load_baseline(key(), SUMMARIES.scorer, path)
    load = fidelity.load_answers
    monkeypatch.setattr(fidelity, "load_answers", lambda entry: load(entry, path))
    compared = lambda entry: fidelity.against_baseline(tmp_path, ANSWERS.tokens, entry)  # noqa: E731
    assert compared(None) == (None, fidelity.NO_BASELINE)
    old = known.model_copy(update={"answers_sha256": ""})
    assert compared(old) == (None, fidelity.NO_ANSWERS)
    assert compared(known)[0].problem == fidelity.NOT_ASKED
    Forced(answers_sha256="other", tokens=(3, 2), agreed=(3, 2)).write(tmp_path / "forced.json")
    assert compared(known)[0].problem == fidelity.OTHER_ANSWERS
    assert compared(known)[0].identical == 2
