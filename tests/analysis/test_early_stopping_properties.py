"""Early stopping against binomials summed exactly, in whole numbers."""

import math
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from loadgen_study.analysis.early_stopping import (
    CONFIDENCE,
    early_stopping_queries,
    significantly_violated,
    violations_allowed,
)

# LoadGen's percentiles and others that the parameter takes, as a file gives them: decimal.
SHARES = st.sampled_from([0.99, 0.9, 0.97, 0.95, 0.999]) | st.integers(100, 9990).map(
    lambda n: n / 10_000
)
MOST_SURE = Fraction(1 - CONFIDENCE)


def at_most(violations, queries, share):
    """P[Binomial(queries, 1 - share) <= violations], exactly."""
    kept = Fraction(share).limit_denominator(10_000)
    over, one = kept.denominator - kept.numerator, kept.denominator
    terms = (
        math.comb(queries, k) * over**k * kept.numerator ** (queries - k)
        for k in range(violations + 1)
    )
    return Fraction(sum(terms), one**queries)


def surely_not_on_the_edge(*chances):
    """Whether 64-bit floats can tell the chances from the confidence."""
    return all(abs(float(chance / MOST_SURE) - 1) > 1e-9 for chance in chances)


@given(st.integers(0, 400), SHARES)
def test_the_violations_allowed_are_the_most_that_are_sure(queries, share):
    allowed = violations_allowed(queries, share)
    assert -1 <= allowed <= max(queries - 1, -1)
    now, more = at_most(allowed, queries, share), at_most(allowed + 1, queries, share)
    assume(surely_not_on_the_edge(now, more))
    assert now <= MOST_SURE or queries == 0
    assert more > MOST_SURE or allowed == queries - 1


@given(st.integers(0, 8), SHARES.filter(lambda share: share <= 0.99))
def test_the_queries_asked_for_are_the_fewest(violations, share):
    queries = early_stopping_queries(violations, share)
    now, fewer = (at_most(violations, n, share) for n in (queries, queries - 1))
    assume(surely_not_on_the_edge(now, fewer))
    assert now <= MOST_SURE
    assert fewer > MOST_SURE or queries - 1 <= violations


@given(st.integers(0, 300), st.integers(0, 300), SHARES)
def test_a_failure_beyond_doubt_has_a_chance_of_one_in_a_hundred(queries, violations, share):
    assume(violations <= queries)
    chance = 1 - at_most(violations - 1, queries, share)
    assume(surely_not_on_the_edge(chance))
    assert significantly_violated(queries, violations, share) == (chance <= MOST_SURE)


@given(st.integers(1, 200_000), SHARES)
def test_more_queries_allow_no_fewer_violations(queries, share):
    allowed = violations_allowed(queries, share)
    assert allowed <= violations_allowed(queries + 1, share) <= allowed + 1
    # Beside the mean there is room for what is chance: three and a half deviations are beyond it.
    mean, deviation = queries * (1 - share), math.sqrt(queries * share * (1 - share))
    assert mean - 3.5 * deviation - 2 <= allowed <= mean
