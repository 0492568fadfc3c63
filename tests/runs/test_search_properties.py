"""The search of a rate under verdicts of any luck: it ends, and says what its tests say."""

import math

from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.facts.scores import Probe
from loadgen_study.runs import search
from vllm_loadgen import BenchmarkError

STARTS = st.floats(0.01, 1e5)
# From a fiftieth of the first guess up and down again, bisecting, with a doubt at each step.
MOST_TESTS = 60


def search_with(verdicts, start):
    """A search's tests, by (rate, number of the test) to (held, sure); whether it found none."""
    probes = []
    while len(probes) < MOST_TESTS:
        try:
            rate = search.next_rate(probes, start)
        except BenchmarkError:
            return probes, True
        if rate is None:
            return probes, False
        held, sure = verdicts(rate, len(probes))
        probes.append(Probe(qps=rate, valid=held, duration_s=1.0, conclusive=sure and not held))
    raise AssertionError(f"no end: {probes}")


@given(STARTS, st.lists(st.tuples(st.booleans(), st.booleans()), min_size=MOST_TESTS))
def test_any_verdicts_come_to_an_end(start, luck):
    def verdicts(rate, number):
        # No machine holds every rate.
        return luck[number] if rate < 20 * start else (False, True)

    probes, hopeless = search_with(verdicts, start)
    low, high = search.bounds(probes)
    assert 0 <= low < high
    assert all(start / search.HOPELESS <= one.qps <= 30 * start for one in probes)
    if hopeless:
        assert low == 0
        return
    assert high / low <= search.PRECISION
    assert search.probes_left(probes) == 0
    for rate, fails in ((low, False), (high, True)):
        tests = [one for one in probes if one.qps == rate]
        held = sum(one.valid for one in tests)
        final = any(one.conclusive for one in tests)
        assert fails == (final or len(tests) - held > held)


@given(STARTS, st.floats(0.05, 15), st.integers(0, 20))
def test_one_unlucky_test_does_not_move_the_peak(start, times, unlucky):
    capacity = times * start

    def verdicts(rate, number):
        return rate <= capacity and number != unlucky, False

    probes, hopeless = search_with(verdicts, start)
    assert not hopeless
    low, high = search.bounds(probes)
    assert low <= capacity < high
    assert high / low <= search.PRECISION


@given(STARTS, st.lists(st.booleans(), max_size=30))
def test_what_is_left_is_told_before_each_test(start, luck):
    probes = []
    for held in luck:
        try:
            rate = search.next_rate(probes, start)
        except BenchmarkError:
            break
        left = search.probes_left(probes) if probes else math.inf
        assert (rate is None) == (left == 0)
        if rate is None:
            break
        probes.append(Probe(qps=rate, valid=held, duration_s=1.0))
