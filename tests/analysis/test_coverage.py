"""Nominal 95 % intervals cover the truth in 90 % of simulated tests at least, or are not given."""

import pytest

from . import coverage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("load", coverage.LOADS)
@pytest.mark.parametrize("queue", coverage.QUEUES)
def test_intervals_cover_wherever_there_are_any(queue, load):
    cells = [coverage.measure(queue, load, queries) for queries in coverage.QUERIES]
    print(coverage.table(cells))
    for cell in cells:
        assert cell.means_covered >= 0.9 * cell.means, cell
        assert cell.rates_covered >= 0.9 * cell.rates, cell
    # An interval is given where a test is long enough to have one.
    assert cells[-1].rates
    assert cells[-1].means or load == 0.95
