"""Better, the same, worse, or cannot tell: known answers, and errors by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.analysis.decision import against_best, confidence_of, decide
from loadgen_study.runs.gate import LOOKS

pytestmark = pytest.mark.slow

BASE = [100, 101, 99, 100.5]


@pytest.mark.parametrize(
    ("new", "outcome"),
    [
        ([110, 111, 109, 110], "better"),
        ([99, 100, 101, 100], "same"),
        ([90, 91, 89, 90], "worse"),
        ([100, 97, 99, 96], "cannot tell"),
        ([90], "cannot tell"),
    ],
)
def test_known_cases(new, outcome):
    found = decide(BASE, new, higher_is_better=True)
    assert found.outcome == outcome
    assert found.change == pytest.approx(np.exp(np.log(new).mean() - np.log(BASE).mean()) - 1)
    times = decide([1 / one for one in BASE], [1 / one for one in new], higher_is_better=False)
    assert times.outcome == outcome
    assert times.change == pytest.approx(1 / (1 + found.change) - 1)  # of the time itself
    if len(new) > 1:
        assert times.low <= times.change <= times.high
    assert (found.more_runs is not None) == (outcome == "cannot tell" and len(new) > 1)


def test_runs_without_any_spread_decide():
    assert decide([100, 100], [90, 90], higher_is_better=True).outcome == "worse"
    assert decide([100, 100], [100, 100], higher_is_better=True).outcome == "same"


@pytest.mark.parametrize(("figures", "margin"), [([0.0, 1], 0.03), ([1, 2], 0.0), ([1, 2], 1.0)])
def test_what_cannot_be_compared_is_refused(figures, margin):
    with pytest.raises(ValueError, match="above 0"):
        decide(BASE, figures, margin, higher_is_better=True)


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=6),
       st.lists(st.floats(0.1, 1e6), min_size=1, max_size=6))  # fmt: skip
def test_no_input_breaks_it_and_a_swap_turns_it_round(base, new):
    there = decide(base, new, higher_is_better=True)
    back = decide(new, base, higher_is_better=True)
    assert there.change == pytest.approx(1 / (1 + back.change) - 1)
    assert not (there.outcome == "better" and back.outcome == "better")


def errors(change, outcome, runs=5, cv=0.02, times=800):
    """How often runs of a known change and spread come to an outcome."""
    random = np.random.default_rng(7)
    draws = np.exp(random.normal(0, cv, (times, 2, runs)))
    found = [decide(100 * one, 100 * (1 + change) * new, higher_is_better=True).outcome
             for one, new in draws]  # fmt: skip
    return sum(each == outcome for each in found) / times


def test_either_error_is_rare_and_a_real_loss_is_found():
    assert errors(-0.03, "worse") <= 0.04  # 2.5 % are allowed
    assert errors(-0.03, "same") <= 0.04
    assert errors(0.0, "better") <= 0.04
    assert errors(-0.08, "worse") >= 0.9
    assert errors(0.0, "same", runs=10) >= 0.85


def ends(change, cv=0.02, times=600, figures=1):
    """How a test that looks several times ends, of runs of a known change and spread."""
    random = np.random.default_rng(11)
    confidence, found = confidence_of(len(LOOKS), figures), []
    for _ in range(times):
        base, new = np.exp(random.normal(0, cv, (2, LOOKS[-1]))) * [[1], [1 + change]]
        outcomes = (
            decide(base[:look], new[:look], 0.03, confidence, higher_is_better=True).outcome
            for look in LOOKS
        )
        found.append(next((one for one in outcomes if one != "cannot tell"), "cannot tell"))
    return {outcome: found.count(outcome) / times for outcome in set(found)}


def test_looking_several_times_keeps_false_alarms_rare():
    """At the edge of the margin, where a false alarm is likeliest, and the power elsewhere."""
    assert ends(-0.03).get("worse", 0) <= 0.05
    assert ends(0.0).get("worse", 0) <= 0.01
    assert ends(-0.08)["worse"] >= 0.9
    assert ends(-0.08, figures=4)["worse"] >= 0.75
    assert ends(0.0)["same"] + ends(0.0).get("better", 0) >= 0.5


def test_a_setting_that_ran_once_is_judged_by_the_spread_of_one_that_ran_often():
    figures = {"a": [100, 101, 99, 100], "b": [120], "c": [119], "d": [60]}
    best, found = against_best(figures, 0.03, 0.95, higher_is_better=True)
    assert best == "b"
    assert {name: one.outcome for name, one in found.items()} == {
        "a": "worse", "b": "same", "c": "cannot tell", "d": "worse",
    }  # fmt: skip
    assert found["d"].change == pytest.approx(-0.5)
    best, found = against_best(figures, 0.06, 0.95, higher_is_better=True)
    assert found["c"].outcome == "same"


def test_without_a_second_run_of_any_nothing_is_worse():
    best, found = against_best({"a": [1.0], "b": [9.0]}, 0.03, 0.95, higher_is_better=False)
    assert (best, found["b"].outcome) == ("a", "cannot tell")
