"""How often intervals cover the truth: simulated queues whose truth is known.

    PYTHONPATH=src python tests/analysis/coverage.py

prints the table of tests/benchmarks/README.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.intervals import mean_interval, tokens_per_s_interval
from loadgen_study.analysis.percentiles import upper_bound

QUEUES = ("M/D/1", "M/M/1")
LOADS = (0.5, 0.8, 0.95)
QUERIES = (64, 400, 2000, 20_000)
# Tests simulated of each, in parts, so that memory stays bounded.
TESTS = {64: 1000, 400: 1000, 2000: 1000, 20_000: 500}
PART = 100
# Tests of each whose tokens/s are looked at as well: that takes most of the time.
RATES = 100
TOKENS = 10


@dataclass
class Cell:
    """Of one queue, load and length: tests, how many had an interval, and how many covered.

    Attributes:
        rates, rates_covered: of tokens/s, of the first ``RATES`` tests.
        bounded: bounds of p90 that held, of ``tests``; of M/M/1 alone, whose p90 is known.
    """

    queue: str
    load: float
    queries: int
    tests: int = 0
    means: int = 0
    means_covered: int = 0
    rates: int = 0
    rates_covered: int = 0
    bounded: int = 0


def simulate(
    queue: str, load: float, queries: int, tests: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Due times, begins and ends of service of tests that start empty, each (queries,).

    Service takes 1 on average, so ``load`` queries are due per unit of time. Waiting times by
    Lindley's recursion, w[i+1] = max(0, w[i] + service[i] - gap[i+1]), unrolled.
    """
    generator = np.random.default_rng(seed)
    for _ in range(tests // PART):
        gaps = generator.exponential(1 / load, (PART, queries))
        gaps[:, 0] = 0
        service = np.ones_like(gaps)
        if queue == "M/M/1":
            service = generator.exponential(1, gaps.shape)
        steps = np.zeros_like(gaps)
        steps[:, 1:] = service[:, :-1] - gaps[:, 1:]
        sums = np.cumsum(steps, axis=1)
        due = np.cumsum(gaps, axis=1)
        begun = due + sums - np.minimum.accumulate(sums, axis=1)
        yield from zip(due, begun, begun + service, strict=True)


def mean_latency(queue: str, load: float) -> float:
    """Of the steady state (Pollaczek and Khinchine)."""
    return 1 + load / (1 - load) / (2 if queue == "M/D/1" else 1)


def measure(queue: str, load: float, queries: int) -> Cell:
    """Simulate one cell; the seed is its own."""
    cell = Cell(queue, load, queries)
    seed = QUEUES.index(queue) * 100 + LOADS.index(load) * 10 + QUERIES.index(queries)
    for due, begun, done in simulate(queue, load, queries, TESTS[queries], seed):
        latency = done - due
        cell.tests += 1
        low, high = mean_interval(latency)
        cell.means += not math.isnan(low)
        cell.means_covered += low <= mean_latency(queue, load) <= high
        if queue == "M/M/1":
            cell.bounded += upper_bound(latency, 0.9) >= -math.log(0.1) / (1 - load)
        if cell.tests <= RATES:
            frame = pd.DataFrame({"first_token_s": begun, "done_s": done, "output_tokens": TOKENS})
            low, high = tokens_per_s_interval(frame)
            cell.rates += not math.isnan(low)
            cell.rates_covered += low <= load * TOKENS <= high
    return cell


def table(cells: list[Cell]) -> str:
    """The cells as Markdown."""

    def share(part: int, of: int) -> str:
        return f"{100 * part / of:.1f} %" if of else "-"

    lines = [
        "| queue | load | queries | tests | mean latency: no interval | covered | tokens/s: no "
        "interval | covered | bound of p90 held |",
        "| --- " * 9 + "|",
    ]
    for cell in cells:
        bounded = share(cell.bounded, cell.tests) if cell.queue == "M/M/1" else ""
        lines.append(
            f"| {cell.queue} | {cell.load:.0%} | {cell.queries:,} | {cell.tests:,} "
            f"| {share(cell.tests - cell.means, cell.tests)} "
            f"| {share(cell.means_covered, cell.means)} "
            f"| {share(min(cell.tests, RATES) - cell.rates, min(cell.tests, RATES))} "
            f"| {share(cell.rates_covered, cell.rates)} | {bounded} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([measure(q, load, n) for q in QUEUES for load in LOADS for n in QUERIES]))
