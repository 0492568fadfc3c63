"""Intervals of shares and means by cluster: by hand, and by how often they hold the truth."""

import math

import numpy as np
import pytest

from loadgen_study.accuracy.clustered import mean, repeats, share
from loadgen_study.analysis.intervals import student_t


@pytest.mark.parametrize(("freedom", "quantile"), [(3, 3.182), (7, 2.365), (9, 2.262), (63, 1.998)])
def test_student_t_is_that_of_the_tables(freedom, quantile):
    assert student_t(0.975, freedom) == pytest.approx(quantile, abs=0.005)


def test_clusters_of_one_length_are_a_mean_of_means():
    found = mean([2.0, 4.0, 6.0, 8.0], [10, 10, 10, 10])
    # Means 0.2, 0.4, 0.6, 0.8: their standard deviation is 0.2582, and 3.182 * 0.2582 / 2 = 0.4108.
    assert found.value == 0.5
    assert (found.low, found.high) == pytest.approx((0.0892, 0.9108), abs=0.001)


def test_what_cannot_be_told_has_no_interval():
    assert mean([1.0, 2.0, 3.0], [1, 1, 1]).low is None
    assert math.isnan(share([], []).value)


def test_a_share_of_all_is_not_called_certain():
    found = share([100] * 64, [100] * 64)
    assert (found.value, found.high) == (1, 1)
    # 6,400 of 6,400, by Wilson: 6400 / (6400 + 1.998^2).
    assert found.low == pytest.approx(0.99938, abs=1e-5)
    assert share([7901] * 64, [7901] * 64).high == 1
    assert share([0] * 64, [123] * 64).low == 0


def test_tokens_that_hang_together_widen_the_interval():
    apart = share([99] * 64, [100] * 64)
    together = share([100] * 63 + [36], [100] * 64)
    assert apart.value == together.value == 0.99
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert 0 <= together.low < together.high <= 1


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_a_nominal_95_percent_covers_the_truth(spread):
    """64 answers of 40 to 128 tokens, which agree at 95 %, more or less by answer."""
    generator = np.random.default_rng(1)
    hits = {"share": 0, "mean": 0}
    for _ in range(1000):
        lengths = generator.integers(40, 129, 64)
        rates = 0.95 + spread * generator.choice([-1, 1], 64)
        agreed = generator.binomial(lengths, rates)
        for name, interval in (("share", share), ("mean", mean)):
            found = interval(list(agreed), list(lengths))
            hits[name] += found.low <= 0.95 <= found.high
    assert min(hits.values()) >= 925, hits
    assert max(hits.values()) <= 985, hits


def test_samples_of_one_prompt_are_one_cluster():
    assert repeats([[1, 2], [3], [1, 2], [1], [3]]) == [0, 1, 0, 3, 1]
    assert repeats([[1, 2], [3], [1]]) is None


@pytest.mark.parametrize("interval", [mean, share])
@pytest.mark.parametrize("hits", [[3, 5, 4, 6, 5, 7, 2, 5], [10] * 8])
def test_copies_of_an_answer_do_not_narrow_the_interval(interval, hits):
    counts, copies = [10] * 8, 8
    clusters = list(range(8)) * copies
    found = interval(hits * copies, counts * copies, clusters)
    alone = interval(hits, counts)
    assert (found.value, found.low, found.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )
    unaware = interval(hits * copies, counts * copies)
    assert hits == [10] * 8 or unaware.high - unaware.low < (alone.high - alone.low) / 2
