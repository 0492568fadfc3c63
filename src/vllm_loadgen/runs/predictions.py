"""What a search or a sweep foretells of a rate that was not measured, and how far it was off."""

from vllm_loadgen.analysis.prediction import fitted, foretold, widest_gap
from vllm_loadgen.analysis.words import say_ms
from vllm_loadgen.results.run import Run
from vllm_loadgen.results.test import Test

# More offered than served: the latency is that of a queue that grows, and of the test's length.
SERVED_SHARE = 0.75


def predictions_text(run: Run) -> str:
    """The expected mean latency at a rate between the measured ones, and how the confirming test
    and the others kept to what the rest foretold; empty where there are too few rates.
    """
    tests = _tests(run)
    # By name: the same rate is offered in the same way, and its arrivals are the same.
    rates = [test.load.arrivals_per_s for test in tests.values()]
    latencies = [test.metrics.latency_ms.mean for test in tests.values()]
    queue = fitted(rates, latencies)
    if queue is None:
        return ""
    rate = widest_gap(rates)
    expected = queue.latency_ms(rate)
    said = [
        f"The {len(tests)} tests fit a server that divides its speed among its queries: "
        f"{say_ms(queue.idle_ms)} for a query alone, and no end of it at "
        f"{queue.capacity_per_s:.3g} queries/s."
    ]
    if expected is not None:
        said.append(
            f"At {rate:.3g} queries/s, which was not measured, a query would take "
            f"{say_ms(expected)} on average."
        )
    return " ".join([*said, *_kept(tests, rates, latencies)])


def _tests(run: Run) -> dict[str, Test]:
    """The finished Server tests that served what was offered, by name."""
    named = run.finished_tests("peak/[0-9]*") | run.finished_tests("sweep/*")
    if named and run.finished("performance"):
        named["performance"] = run.test("performance")
    return {
        name: test
        for name, test in named.items()
        if test.result.scenario == "Server"
        and test.load.completions_per_s >= SERVED_SHARE * test.load.arrivals_per_s
        and test.metrics.completed == test.metrics.samples
    }


def _kept(tests: dict[str, Test], rates: list[float], latencies: list[float]) -> list[str]:
    """How far the tests were from what the others foretold."""
    told = {name: foretold(rates, latencies, place) for place, name in enumerate(tests)}
    off = {
        name: expected / actual - 1
        for (name, expected), actual in zip(told.items(), latencies, strict=True)
        if expected is not None
    }
    said = []
    if "performance" in off:
        actual = tests["performance"].metrics.latency_ms.mean
        expected = told["performance"] or 0.0
        said.append(
            f"Of the main test the others, at other rates, foretold {say_ms(expected)}; it took "
            f"{say_ms(actual)}, so they were off by {abs(off['performance']):.0%}."
        )
    if off:
        worst = max(abs(one) for one in off.values())
        said.append(f"Each foretold by the others, the tests were met within {worst:.0%}.")
    return said
