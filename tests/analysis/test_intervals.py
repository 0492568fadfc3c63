import math

import numpy as np
import pytest
from helpers import make_records

from loadgen_study.analysis.intervals import (
    FEWEST_VALUES,
    WINDOW_QUERIES,
    mean_interval,
    student_t,
    token_rates,
    tokens_per_s_interval,
)
from loadgen_study.analysis.metrics import latencies


@pytest.mark.parametrize(
    ("freedom", "tabled"), [(4, 2.776), (7, 2.365), (9, 2.262), (19, 2.093), (100, 1.984)]
)
def test_students_t_is_that_of_the_tables(freedom, tabled):
    assert student_t(0.975, freedom) == pytest.approx(tabled, abs=1e-3)


def test_an_interval_of_independent_values():
    values = np.random.default_rng(1).exponential(10, 2000)
    low, high = mean_interval([*values, math.nan])
    assert low < 10 < high
    # Not narrower than by the textbook for independent ones, and not absurdly wide.
    assert 1 <= (high - low) / (2 * 1.96 * values.std() / math.sqrt(2000)) < 2.5


def test_no_interval_of_few_values_or_of_such_as_hang_together():
    generator = np.random.default_rng(2)
    assert math.isnan(mean_interval(generator.exponential(10, FEWEST_VALUES - 1))[0])
    assert math.isnan(mean_interval(np.linspace(1, 2, 5000))[0])  # rising, as in Offline
    assert math.isnan(mean_interval(np.repeat(generator.exponential(10, 100), 50))[0])
    assert math.isnan(mean_interval([])[0])


def test_equal_values_have_their_mean():
    assert mean_interval([3.0] * FEWEST_VALUES) == (3.0, 3.0)


def test_token_rates_by_hand():
    # One token at 1 s, then ten to 3 s; one token alone at 2.5 s.
    rows = [(0, 0, 0, 1.0, 3.0, 9, 11), (0, 0, 0, 2.5, 2.5, 9, 1)]
    edges, rates = token_rates(latencies(make_records(rows)), 3)
    assert edges.tolist() == [0, 1, 2, 3]
    assert rates.tolist() == pytest.approx([0, 6, 6])
    assert len(token_rates(latencies(make_records(rows).iloc[:0]), 3)[1]) == 0


def test_an_interval_of_tokens_per_s():
    due = np.cumsum(np.random.default_rng(3).exponential(1, FEWEST_VALUES * WINDOW_QUERIES))
    records = make_records([(at, at, at, at + 0.1, at + 0.6, 9, 10) for at in due])
    low, high = tokens_per_s_interval(latencies(records))
    assert low < 10 < high < 11
    assert math.isnan(tokens_per_s_interval(latencies(records.iloc[1:]))[0])
