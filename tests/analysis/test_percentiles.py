import math

import numpy as np
import pytest

from loadgen_study.analysis import percentiles
from loadgen_study.analysis.percentiles import distribution, percentile, queries_needed, upper_bound


def test_percentiles_are_loadgens():
    values = list(range(100))
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


def test_how_many_queries_a_percentile_needs():
    # As mlcommons/endpoints asks for.
    assert [queries_needed(share) for share in (0.5, 0.9, 0.99, 0.999)] == [11, 64, 662, 6636]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_bound_is_an_order_statistic(share):
    needed = queries_needed(share)
    assert math.isnan(upper_bound(range(needed - 1), share))
    # One value may lie above it, and not the maximum: of more queries more may.
    assert upper_bound(range(needed), share) == needed - 2
    n = 4 * needed
    above = n - 1 - upper_bound(range(n), share)

    def at_most(violations):
        return sum(
            math.comb(n, v) * (1 - share) ** v * share ** (n - v) for v in range(violations + 1)
        )

    assert at_most(int(above)) <= 0.01 < at_most(int(above) + 1)


def test_the_bound_holds_as_often_as_it_says():
    tests = np.random.default_rng(0).exponential(1, (4000, 100))
    held = np.mean([upper_bound(test, 0.9) >= -math.log(0.1) for test in tests])
    assert 0.99 <= held < 1  # P[Binomial(100, 0.1) <= 3] is 0.8 %


def test_a_percentile_is_bounded_or_not_there():
    found = distribution([*range(64), math.nan])
    assert (found.queries, found.mean, found.min, found.max) == (64, 31.5, 0, 63)
    assert (found.p90, found.p90_upper) == (57, 62)
    assert math.isnan(found.p99)
    assert math.isnan(found.p99_upper)
    assert math.isnan(distribution([]).mean)


def test_what_is_said_of_a_tail():
    assert percentiles.say_tail(distribution(range(1, 65))) == "p90 58 ms (at most 63 ms)"
    assert percentiles.say_tail(distribution([1, 2, 300])) == "maximum 300 ms"
    assert percentiles.lacking(64) == "p99 needs 662 queries, this test has 64"
    assert percentiles.lacking(662) == ""
