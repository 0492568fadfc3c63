"""A run compared with the published MLPerf results of its task, or why it cannot be."""

from collections.abc import Sequence
from importlib import resources

import pandas as pd

from loadgen_study.params import RunParams
from loadgen_study.rules.rule import Rule, departures


def results() -> pd.DataFrame:
    """Published Llama-3.1-8B results, tokens/s per accelerator that was used, best first.

    Each system's tokens/s divided by its accelerators; a system of CPUs counts as one. Not all that
    was published: of v5.1 and v6.0 what was read in the ``mlperf_log_summary.txt`` of
    mlcommons/inference_results_v5.1 and v6.0, of v6.1 in the ``summary.json`` of
    mlcommons/inference_results_v6.1, which tells engine and precision. A row that was read in a
    participant's copy of such a repository says so, and so does an engine that was inferred from
    what NVIDIA's partners usually run.

    Returns:
        accelerator, kind (GPU or CPU), devices, engine, precision (both NaN: not known), round,
        source, offline, server, interactive (NaN: no result).
    """
    with (resources.files("loadgen_study") / "embedded" / "published.csv").open() as file:
        return pd.read_csv(file).sort_values("offline", ascending=False, ignore_index=True)


def column(params: RunParams) -> str | None:
    """The column of ``results`` that a run belongs to; None where no result is published."""
    return params.rules.published.get(params.scenario)


def obstacles(params: RunParams, rules: Sequence[Rule]) -> list[str]:
    """Why a run cannot be compared with the published results; empty if it can."""
    if column(params) is None:
        return [f"no published result is known for {params.benchmark} in {params.scenario}"]
    if not params.engine_traits.started_here:
        return ["accelerators: those of the server are not known"]
    return [
        f"{rule.title.lower()} is {rule.actual} (needed: {rule.required})"
        for rule in departures(rules)
        if rule.part in ("task", "engine")  # all others may be a matter of degree
    ]


def comparison(
    params: RunParams, tokens_per_s: float, devices: int, rules: Sequence[Rule], kind: str = "GPU"
) -> str:
    """The run's tokens/s per accelerator as a share of the published ones, in a sentence or two.

    Args:
        tokens_per_s: of the whole system. devices: accelerators it used.
        rules: of ``conformance.rules_of``.
        kind: "GPU", or "CPU" for a system without accelerators, which counts as one.
    """
    name = column(params)
    problems = obstacles(params, rules)
    if problems or name is None:
        return f"Not comparable with published MLPerf results: {'; '.join(problems)}."
    own = tokens_per_s / max(1, devices)
    known = results().dropna(subset=[name]).sort_values(name, ascending=False)
    best = {
        "the best published": known,
        "the best with vLLM": known[known["engine"].str.startswith("vLLM", na=False)],
    }
    if kind == "CPU":
        best["the best on CPUs"] = known[known["kind"] == "CPU"]
    shares = [f"{_share(own, rows.iloc[0], name)}, {what}" for what, rows in best.items()
              if len(rows)]  # fmt: skip
    unit = "system of CPUs" if kind == "CPU" else "accelerator"
    return (
        f"{own:,.0f} tokens/s per {unit} is {'; '.join(shares)}, of those in the table. Other "
        "accelerators, other limits: compare the shares of each one's own."
    )


def _share(own: float, row: pd.Series, name: str) -> str:
    """The share of a published result, with its source."""
    named = [row[key] for key in ("engine", "precision", "round", "source") if pd.notna(row[key])]
    system = f"{row['devices']} x {row['accelerator']} ({', '.join(named)})"
    return f"{own / row[name]:.0%} of the {row[name]:,.0f} of {system}"
