"""Requested and effective settings."""

import pandas as pd

from loadgen_study.params import NOT_KNOWN
from loadgen_study.prose import render
from loadgen_study.results.run import Run

# Shown of a server under test.
SERVED = {"route": "route", "token_ids": "token ids from"}


def text(run: Run) -> str:
    """How long the engine took to load or to connect to, and its KV cache."""
    return render(
        "report/sections/configuration",
        engine=run.engine,
        served=not run.params.engine_traits.started_here,
        replicas=run.params.data_parallel_size,
    )


def table(run: Run) -> pd.DataFrame:
    """The parameters of the run and what the engine made of those left to it.

    Those of a server that runs already are not known.
    """
    made = dict(run.engine.effective_options) if run.engine else {}
    if run.performance and not isinstance(run.performance.params.target_qps, str):
        made["target_qps"] = run.performance.params.target_qps
    given, effective = dict[str, object](), dict[str, object]()
    for name in run.params.names("shown"):
        if name == "target_latency_ms" and not run.params.scenario_traits.one_by_one:
            continue
        if name in run.params.unknown:
            given[name], effective[name] = "", NOT_KNOWN
            continue
        value, used = getattr(run.params, name), made.get(name, getattr(run.engine, name, None))
        if value not in (None, {}, [], "") or used is not None:
            given[name], effective[name] = value, "" if used is None else used
    for name, title in SERVED.items():
        if used := getattr(run.engine, name, None):
            given[title], effective[title] = "", used
    columns = {"given": given, "effective": effective}
    return pd.DataFrame(columns, dtype=object).rename_axis("Parameter")
