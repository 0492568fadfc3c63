"""The run compared with published MLPerf results."""

from collections.abc import Sequence

from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules import published
from loadgen_study.rules.rule import Rule


def text(run: Run, test: Test, rules: Sequence[Rule]) -> str:
    """The run as a share of the published results, or why it is not comparable."""
    kind = "GPU" if run.environment.gpus else "CPU"
    obstacles = published.obstacles(run.params, rules)
    rate = test.metrics.tokens_per_s
    shares = [] if obstacles else published.shares(run.params, rate, run.devices, kind)
    return render(
        "report/sections/published",
        obstacles=obstacles,
        own=rate / max(1, run.devices),
        unit="system of CPUs" if kind == "CPU" else "accelerator",
        shares=shares,
        impossible=run.impossible,
    )
