import numpy as np
import pytest

from loadgen_study.analysis.prediction import fitted, foretold, widest_gap


def sharing(rate, idle_ms=4000.0, capacity=2.0):
    """Mean latency of a processor-sharing queue."""
    return idle_ms / (1 - rate / capacity)


def test_a_queue_is_found_again():
    rates = [0.4, 0.9, 1.3, 1.7]
    queue = fitted(rates, [sharing(rate) for rate in rates])
    assert queue.idle_ms == pytest.approx(4000)
    assert queue.capacity_per_s == pytest.approx(2)
    assert queue.latency_ms(1.0) == pytest.approx(8000)
    assert queue.latency_ms(2.0) is None


def test_a_simulated_queue_is_foretold():
    # M/M/1 has the mean of processor sharing: 1 / (mu - lambda).
    generator = np.random.default_rng(3)

    def simulated(rate, mu=1.0, queries=40_000):
        gaps, work = (
            generator.exponential(1 / rate, queries),
            generator.exponential(1 / mu, queries),
        )
        wait, total = 0.0, 0.0
        for gap, need in zip(gaps, work, strict=True):
            wait = max(0.0, wait - gap)
            wait += need
            total += wait
        return 1e3 * total / queries

    rates = [0.2, 0.4, 0.6, 0.7]
    latencies = [simulated(rate) for rate in rates]
    assert foretold(rates, latencies, 2) == pytest.approx(latencies[2], rel=0.1)


def test_too_few_rates_or_none_that_grow():
    assert fitted([0.5, 0.5, 1.0], [10.0, 10.0, 20.0]) is None
    assert fitted([0.5, 1.0, 1.5], [10.0, 10.0, 9.0]) is None
    assert foretold([0.5, 1.0, 1.5], [10.0, 20.0, 30.0], 0) is None


def test_the_widest_gap_between_measured_rates():
    assert widest_gap([1.0, 0.2, 0.4, 1.0]) == pytest.approx(0.7)
