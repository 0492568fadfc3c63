import math

import pytest

from loadgen_study.analysis.early_stopping import (
    early_stopping_queries,
    significantly_violated,
    violations_allowed,
)


@pytest.mark.parametrize(
    ("violations", "share", "queries"),
    [(0, 0.99, 459), (1, 0.99, 662), (10, 0.99, 2010), (100, 0.99, 12571), (0, 0.9, 44)],
)
def test_early_stopping_is_loadgens(violations, share, queries):
    assert early_stopping_queries(violations, share) == queries
    assert violations_allowed(queries, share) == violations
    assert violations_allowed(queries - 1, share) == violations - 1


@pytest.mark.parametrize(("queries", "share"), [(64, 0.9), (459, 0.99), (2010, 0.99)])
def test_a_failure_is_sure_by_the_same_confidence_turned_around(queries, share):
    """P[Binomial(n, 1 - share) >= violations] summed term by term."""
    over = 1 - share

    def tail(violations):
        return sum(
            math.comb(queries, k) * over**k * share ** (queries - k)
            for k in range(violations, min(queries, violations + 150) + 1)
        )

    fewest = next(n for n in range(queries) if tail(n) <= 0.01)
    assert significantly_violated(queries, fewest, share)
    assert not significantly_violated(queries, fewest - 1, share)
    # Between what LoadGen accepts and what is sure a test shows nothing.
    assert violations_allowed(queries, share) < over * queries < fewest


def test_no_query_over_a_limit_is_no_sure_failure():
    assert not significantly_violated(1000, 0, 0.99)
    assert not significantly_violated(0, 0, 0.99)
