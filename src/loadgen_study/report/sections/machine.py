"""Batch, KV cache and machine over a test."""

import pandas as pd

from loadgen_study.analysis.load import Busy
from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test


def text(run: Run, test: Test) -> str:
    """Whose machine is shown, if not the engine's; of a CPU, how long it had a query."""
    whole_s = test.metrics.duration_s
    cpu = not run.environment.gpus and not test.telemetry.empty
    return render(
        "report/sections/machine",
        here=run.params.here,
        cpu=cpu,
        busy=Busy(test.latencies, whole_s).all_s / whole_s if whole_s else 0.0,
    )


def replicas_table(test: Test) -> pd.DataFrame:
    """The work of each of several engines or servers; empty of one."""
    return test.servers if test.replicas.empty else test.replicas
