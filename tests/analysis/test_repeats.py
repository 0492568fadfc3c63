import math

import numpy as np
import pytest

from loadgen_study.analysis.repeats import median_place, spread


def test_the_spread_of_three_runs():
    found = spread([98.0, 100.0, 102.0])
    assert (found.runs, found.mean) == (3, 100.0)
    assert found.cv == pytest.approx(0.02)
    # 4.303 x 2 / sqrt(3), and x sqrt(1 + 1 / 3) for one more run (any book's t table).
    assert (found.low, found.high) == pytest.approx((95.031, 104.969), abs=1e-3)
    assert (found.next_low, found.next_high) == pytest.approx((90.063, 109.937), abs=1e-3)


def test_too_few_runs_have_no_interval():
    assert math.isnan(spread([100.0]).cv)
    two = spread([99.0, 101.0, math.nan])
    assert two.runs == 2
    assert two.cv == pytest.approx(0.01414, abs=1e-5)
    assert math.isnan(two.low)
    assert math.isnan(two.next_high)
    assert spread([math.nan]).runs == 0


@pytest.mark.parametrize("runs", [3, 5, 12])
def test_the_intervals_cover(runs):
    generator = np.random.default_rng(7)
    covered = expected = 0
    for _ in range(2000):
        *values, another = generator.normal(100, 3, runs + 1)
        found = spread(values)
        covered += found.low <= 100 <= found.high
        expected += found.next_low <= another <= found.next_high
    assert 0.93 < covered / 2000 < 0.97
    assert 0.93 < expected / 2000 < 0.97


def test_the_median_of_an_even_number_is_the_slower():
    assert median_place([3.0, 1.0, 2.0]) == 2
    assert median_place([4.0, 1.0, 3.0, 2.0]) == 3
    assert median_place([5.0]) == 0
