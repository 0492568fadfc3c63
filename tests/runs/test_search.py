import math

import numpy as np
import pytest

from loadgen_study.facts.scores import Probe
from loadgen_study.runs import search
from vllm_loadgen import BenchmarkError


def probe(qps, valid, sure=True):
    return Probe(qps=qps, valid=valid, duration_s=1.0, conclusive=sure and not valid)


def course(capacity, start, sure=True):
    """The tests of a search where exactly the rates up to ``capacity`` hold."""
    probes = []
    while (rate := search.next_rate(probes, start)) is not None:
        probes.append(probe(rate, rate <= capacity, sure))
    return probes


@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize("start", [0.9, 10.0, 31.0])
def test_the_search_ends_within_its_precision(start, sure):
    probes = course(10.0, start, sure)
    low, high = search.bounds(probes)
    assert low <= 10.0 < high
    assert high / low <= search.PRECISION
    assert len(probes) < 16
    # Only what may be chance is tried once more, and that alone.
    assert len(probes) - len({one.qps for one in probes}) == (not sure)


def test_the_search_brackets_then_bisects():
    assert search.next_rate([], 4.0) == 4.0
    assert search.next_rate([probe(4.0, True)], 4.0) == 6.0
    assert search.next_rate([probe(6.0, False)], 6.0) == 4.0
    both = [probe(4.0, True), probe(6.0, False)]
    assert search.next_rate(both, 4.0) == pytest.approx(math.sqrt(24), rel=1e-3)


def test_a_rate_that_held_above_one_that_failed_does_not_count():
    probes = [probe(4.0, True), probe(5.0, False), probe(5.5, True)]
    assert search.bounds(probes) == (4.0, 5.0)


def test_one_failure_that_may_be_chance_does_not_cap_the_peak():
    unlucky = [probe(4.0, True), probe(4.1, False, sure=False)]
    assert search.next_rate(unlucky, 4.0) == 4.1
    held = [*unlucky, probe(4.1, True)]
    assert search.bounds(held) == (4.1, math.inf)
    assert search.next_rate(held, 4.0) > 4.1
    twice = [*unlucky, probe(4.1, False, sure=False)]
    assert search.next_rate(twice, 4.0) is None
    assert search.next_rate([probe(4.0, True), probe(4.1, False)], 4.0) is None


def test_a_full_test_that_fails_once_is_made_again():
    bound = [probe(4.1, False)]
    once = [probe(4.0, True), *bound, probe(4.0, False, sure=False)]
    assert search.next_rate(once, 4.0) is None  # 4.0 is still the peak to confirm
    assert search.bounds(once)[0] == 4.0
    assert search.bounds([*once, probe(4.0, False, sure=False)]) == (0.0, 4.0)
    assert search.bounds([probe(4.0, True), *bound, probe(4.0, False)]) == (0.0, 4.0)


@pytest.mark.parametrize("sure", [True, False])
def test_probes_left_is_an_upper_bound(sure):
    for start in (0.9, 10.0, 31.0):
        probes = course(10.0, start, sure)
        bracketed = next(
            n for n in range(1, len(probes)) if {p.valid for p in probes[:n]} == {True, False}
        )
        for made in range(bracketed, len(probes) + 1):
            assert len(probes) - made <= search.probes_left(probes[:made])
        assert search.probes_left(probes) == 0


def test_limits_that_no_rate_keeps_are_one_error():
    probes = [probe(4.0 / 1.5**n, False) for n in range(10)]
    with pytest.raises(BenchmarkError, match="target_qps = 'auto': not even"):
        search.next_rate(probes, 4.0)


def noisy_peak(generator, capacity, sure):
    """The peak that a search confirms where a rate up to 10 % below ``capacity`` fails one time in
    five, and one above it never holds.

    Args:
        sure: as if each failure were final, which is how the search once took them.
    """
    probes, start = [], capacity * generator.uniform(0.3, 1.5)
    while True:
        rate = search.next_rate(probes, start)
        full = rate is None
        if rate is None:
            rate = search.bounds(probes)[0]
        unlucky = rate > 0.9 * capacity and generator.random() < 0.2
        probes.append(probe(rate, rate <= capacity and not unlucky, sure))
        if full and probes[-1].valid:
            return rate


def test_the_peak_of_a_noisy_system_is_not_biased_low():
    capacity, searches = 10.0, 400
    found = {}
    for sure in (True, False):
        generator = np.random.default_rng(1)
        found[sure] = [noisy_peak(generator, capacity, sure) for _ in range(searches)]
    assert max(found[False]) <= capacity
    # Within its precision of the capacity: most are, and by one failure far fewer are.
    within = {sure: np.mean(np.array(peaks) > capacity / search.PRECISION)
              for sure, peaks in found.items()}  # fmt: skip
    assert within[False] > 0.88
    assert within[True] < 0.78
    assert np.mean(found[False]) > 1.01 * np.mean(found[True])
