"""What a server costs: the same performance test over HTTP and in process."""

import math

import pandas as pd

from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.live import LiveRun
from loadgen_study.words import change

IN_PROCESS = "in-process"
MEAN_TTFT, P99_TTFT, TOKENS = "Mean TTFT, ms", "p99 of TTFT, ms", "Output tokens per second"


def compare_in_process(run: LiveRun) -> pd.DataFrame:
    """Make the run's performance test once more without the server.

    Returns:
        see ``served_table``.
    """
    run.close()  # two engines at once would measure each other
    with run.variant(IN_PROCESS, serve=False, compare_in_process=False) as variant:
        variant.once("performance")
    return served_table(run.read())


def served_table(run: Run) -> pd.DataFrame:
    """Both ways side by side; empty unless the run has both.

    Returns:
        index figure; served, in process, and the difference of the first from the second ("" where
        one is not known).
    """
    if (both := both_ways(run)) is None:
        return pd.DataFrame()
    served, plain = map(figures, both)
    rows = {
        name: {
            "served": _shown(name, value),
            "in process": _shown(name, plain[name]),
            "difference": difference(value, plain[name]),
        }
        for name, value in served.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("figure")


def both_ways(run: Run) -> tuple[Test, Test] | None:
    """The performance test over HTTP and in process; None unless the run has both."""
    inner = run.folder / IN_PROCESS
    if not (run.params.serve and run.finished("performance") and (inner / "params.yaml").is_file()):
        return None
    other = Run.open(inner)
    done = other.finished("performance")
    return (run.test("performance"), other.test("performance")) if done else None


def figures(test: Test) -> dict[str, float]:
    """What the two ways are compared by; NaN for what is not known."""
    metrics = test.metrics
    return {
        MEAN_TTFT: metrics.ttft_ms.mean,
        P99_TTFT: metrics.ttft_ms.p99,
        "Mean TPOT, ms": metrics.tpot_ms.mean,
        TOKENS: metrics.tokens_per_s,
        "CPU of the front end, ms per query": front_cpu_ms(test),
        "Queries refused": float(test.result.refused),
    }


def front_cpu_ms(test: Test) -> float:
    """CPU time of all but the engine's own processes, ms per query; NaN if it was not measured.

    In process that is LoadGen, the SUT and vLLM's front end; served, the server and its client as
    well.
    """
    if "front_cpu_cores" not in test.telemetry or not test.result.queries:
        return math.nan
    cores = float(test.telemetry["front_cpu_cores"].mean())
    return cores * test.result.duration_s * 1e3 / test.result.queries


def _shown(name: str, value: float) -> str:
    if not math.isnan(value):
        return f"{value:,.2f}"
    return "too few queries" if name == P99_TTFT else "not measured"


def difference(value: float, other: float) -> str:
    """A value against another: "+1.2 %"; empty where that is not known."""
    return change(value / other - 1) if other and not math.isnan(value / other) else ""
