"""What a search or a sweep foretells of a rate that was not measured, and how far it was off."""

from dataclasses import dataclass

from loadgen_study.analysis.prediction import Queue, fitted, foretold, widest_gap
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test

# More offered than served: the latency is that of a queue that grows, and of the test's length.
SERVED_SHARE = 0.75
MAIN = "performance"


@dataclass(frozen=True)
class Kept:
    """The mean latency of a test beside what the others, at other rates, foretold."""

    foretold_ms: float
    actual_ms: float

    @property
    def off_share(self) -> float:
        """How far the two are apart, as a share of the actual one."""
        return abs(self.foretold_ms / self.actual_ms - 1)


@dataclass(frozen=True)
class Predictions:
    """What the Server tests of a run say together.

    Attributes:
        tests: how many. queue: that fits them.
        rate_per_s: in the widest gap between those measured; expected_ms: the mean latency there.
        main: the run's main test, which confirms a search; None if the others cannot foretell it.
        worst_share: how far the test was off that was foretold worst; None if none could be.
    """

    tests: int
    queue: Queue
    rate_per_s: float
    expected_ms: float | None
    main: Kept | None
    worst_share: float | None


def predictions(run: Run) -> Predictions | None:
    """What the tests of a search and a sweep foretell; None where there are too few rates."""
    tests = _tests(run)
    rates = [test.load.arrivals_per_s for test in tests.values()]
    latencies = [test.metrics.latency_ms.mean for test in tests.values()]
    queue = fitted(rates, latencies)
    if queue is None:
        return None
    told = {
        name: Kept(expected, latencies[place])
        for place, name in enumerate(tests)
        if (expected := foretold(rates, latencies, place)) is not None
    }
    rate = widest_gap(rates)
    return Predictions(
        tests=len(tests),
        queue=queue,
        rate_per_s=rate,
        expected_ms=queue.latency_ms(rate),
        main=told.get(MAIN),
        worst_share=max((kept.off_share for kept in told.values()), default=None),
    )


def _tests(run: Run) -> dict[str, Test]:
    """The finished Server tests that served what was offered, by name."""
    named = run.finished_tests("peak/[0-9]*") | run.finished_tests("sweep/*")
    if named and run.finished(MAIN):
        named[MAIN] = run.test(MAIN)
    return {
        name: test
        for name, test in named.items()
        if test.result.scenario == "Server"
        and test.load.completions_per_s >= SERVED_SHARE * test.load.arrivals_per_s
        and test.metrics.completed == test.metrics.samples
    }
