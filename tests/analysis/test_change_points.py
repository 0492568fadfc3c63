"""Steps in simulated histories: found where they are, and none where there is none."""

import numpy as np
import pytest

from loadgen_study.analysis.change_points import FEWEST_RUNS, change_points

RUNS, DRAWS = 40, 300


def histories(cv, seed, skewed=False):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((DRAWS, RUNS))
    if skewed:  # some runs are much slower, none much faster
        noise = 1 - rng.exponential(1, (DRAWS, RUNS))
    return rng, 500 * (1 + cv * noise)


@pytest.mark.parametrize("cv", [0.01, 0.02])
def test_a_step_of_5_percent_is_found_within_two_runs(cv):
    rng, values = histories(cv, seed=1)
    at = rng.integers(5, RUNS - 5, DRAWS)
    values[np.arange(RUNS) >= at[:, None]] *= 0.95
    near = [any(abs(one - place) <= 2 for one in change_points(history))
            for history, place in zip(values, at, strict=True)]  # fmt: skip
    assert np.mean(near) >= 0.9


@pytest.mark.parametrize("skewed", [False, True])
def test_a_history_without_a_step_has_marks_in_at_most_5_percent(skewed):
    _, values = histories(0.02, seed=2, skewed=skewed)
    assert np.mean([bool(change_points(history)) for history in values]) <= 0.05


def test_two_steps_are_both_found():
    rng = np.random.default_rng(3)
    levels = np.repeat([500.0, 460.0, 510.0], [15, 12, 13])
    assert change_points(levels * (1 + 0.01 * rng.standard_normal(RUNS))) == [15, 27]


def test_a_sure_step_that_is_too_small_to_matter_is_not_marked():
    noise = 1e-5 * np.random.default_rng(6).standard_normal(RUNS)
    for share, found in ((0.004, []), (0.006, [RUNS // 2])):
        values = np.repeat([500.0, 500 * (1 + share)], RUNS // 2) * (1 + noise)
        assert change_points(values) == found


def test_an_outlier_is_not_a_step():
    values = 500 + np.random.default_rng(4).standard_normal(RUNS)
    values[20] = 300
    assert change_points(values) == []


def test_a_clear_step_needs_the_fewest_runs():
    noise = 1e-3 * np.random.default_rng(5).standard_normal(FEWEST_RUNS)
    values = np.repeat([500.0, 450.0], [5, FEWEST_RUNS - 5]) * (1 + noise)
    assert change_points(values) == [5]
    assert change_points(values[1:]) == []


@pytest.mark.parametrize("values", [[], [1.0], [5.0] * 40, [5.0, 5.0 + 1e-12] * 20])
def test_what_does_not_vary_has_no_step(values):
    assert change_points(values) == []
