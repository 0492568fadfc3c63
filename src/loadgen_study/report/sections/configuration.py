"""Requested and effective settings."""

import pandas as pd

from loadgen_study.params import NOT_KNOWN
from loadgen_study.prose import render
from loadgen_study.results.run import Run

# Shown of a server under test.
SERVED = {"route": "asked by", "token_ids": "token ids given by"}


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
    rows: dict[str, dict[str, object]] = {}
    others = set() if run.params.scenario_traits.one_by_one else {"target_latency_ms"}
    for name in run.params.names("shown"):
        if name in others:
            continue
        if name in run.params.unknown:
            rows[name] = {"given": "", "effective": NOT_KNOWN}
            continue
        given, effective = (
            getattr(run.params, name),
            made.get(name, getattr(run.engine, name, None)),
        )
        if given not in (None, {}, [], "") or effective is not None:
            rows[name] = {"given": given, "effective": "" if effective is None else effective}
    for name in ("route", "token_ids"):
        if run.engine is not None and (told := getattr(run.engine, name)):
            rows[SERVED[name]] = {"given": "", "effective": told}
    columns = {
        name: {row: values[name] for row, values in rows.items()} for name in ("given", "effective")
    }
    return pd.DataFrame(columns, dtype=object).rename_axis("Parameter")
