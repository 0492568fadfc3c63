from functools import partial

import pandas as pd
import pytest

from loadgen_study.accuracy import paired
from loadgen_study.accuracy.paired import Answered
from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.facts.scores import Forced

difference = partial(paired.difference, metric=SUMMARIES.scorer.main)


def answered(rouge1, forced=None):
    frame = pd.DataFrame({"sample_index": range(len(rouge1)), "rouge1": rouge1, "scorable": True})
    frame["summary"] = [f"answer of {value}" for value in rouge1]
    return Answered(frame, forced)


def forced(agreed, **changes):
    return Forced(**{"answers_sha256": "ab", "tokens": [10] * len(agreed), "agreed": agreed,
                     "logprob_difference": [-one / 10 for one in agreed]} | changes)  # fmt: skip


def test_pairs_take_the_spread_between_samples_out():
    first = [0.1, 0.5, 0.9, 0.3] * 4
    found = difference(answered(first), answered([value - 0.02 for value in first]))
    assert found.score.value == pytest.approx(-2)
    assert (found.score.low, found.score.high) == pytest.approx((-2, -2))


def test_the_answers_that_changed_most_stand_side_by_side():
    change = difference(answered([0.1, 0.5, 0.4]), answered([0.2, 0.1, 0.4])).most_changed
    assert (change.sample_index, change.before, change.after) == (1, 50, 10)
    assert (change.answer_before, change.answer_after) == ("answer of 0.5", "answer of 0.1")
    assert difference(answered([0.1]), answered([0.1])).most_changed is None


def test_fidelity_is_paired_by_answer():
    one, other = forced([10, 9, 10, 9]), forced([9, 8, 9, 8])
    found = difference(answered([0.5] * 4, one), answered([0.5] * 4, other))
    assert found.agreement.value == pytest.approx(-0.1)
    assert found.agreement.low == pytest.approx(-0.1)
    assert found.logprob.value == pytest.approx(0.01)


def test_fidelity_is_paired_as_far_as_both_were_asked():
    one, other = forced([10, 9, 10, 9, 1, 1]), forced([9, 8, 9, 8])
    found = difference(answered([0.5] * 6, one), answered([0.5] * 6, other))
    assert found.agreement.value == pytest.approx(-0.1)


@pytest.mark.parametrize(
    "other", [None, forced([9] * 4, problem="no"), forced([9] * 4, answers_sha256="cd")]
)
def test_fidelity_is_compared_of_the_same_answers_alone(other):
    found = difference(answered([0.5] * 4, forced([10] * 4)), answered([0.5] * 4, other))
    assert (found.agreement, found.logprob) == (None, None)


def test_samples_that_rouge_cannot_score_are_left_out():
    one, other = answered([0.1, 0.5, 0.0]), answered([0.2, 0.6, 0.0])
    for side in (one, other):
        side.samples["scorable"] = [True, True, False]
    assert difference(one, other).score.value == pytest.approx(10)
    for side in (one, other):
        side.samples["scorable"] = False
    found = difference(one, other)
    assert (found.score, found.most_changed) == (None, None)


def test_copies_of_a_prompt_do_not_narrow_the_interval():
    first, other = [0.1, 0.5, 0.9, 0.3, 0.4], [0.2, 0.4, 0.9, 0.5, 0.4]
    alone = difference(answered(first, forced([10, 9, 8, 9, 7])),
                       answered(other, forced([9, 9, 9, 8, 8])))  # fmt: skip
    one = answered(first * 8, forced([10, 9, 8, 9, 7] * 8))
    two = answered(other * 8, forced([9, 9, 9, 8, 8] * 8))
    for each in (one, two):
        each.samples["cluster"] = list(range(5)) * 8
    found = difference(one, two)
    for name in ("score", "agreement", "logprob"):
        wide, known = getattr(found, name), getattr(alone, name)
        assert (wide.low, wide.high) == pytest.approx((known.low, known.high))
