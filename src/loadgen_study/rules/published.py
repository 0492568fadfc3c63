"""A run compared with the published MLPerf results of its task, or why it cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import pandas as pd

from loadgen_study.benchmarks.record import Benchmark
from loadgen_study.params import RunParams
from loadgen_study.rules.rule import Rule, departures

COLUMNS = ("offline", "server", "interactive")


def results(benchmark: Benchmark) -> pd.DataFrame:
    """A benchmark's published results, tokens/s per accelerator that was used, best first.

    Each system's tokens/s divided by its accelerators; a system of CPUs counts as one. Not all that
    was published: of v5.1 and v6.0 what was read in the ``mlperf_log_summary.txt`` of
    mlcommons/inference_results_v5.1 and v6.0, of v6.1 in the ``summary.json`` of
    mlcommons/inference_results_v6.1, which states engine and precision. A row that was read in a
    participant's copy of such a repository says so, and so does an engine that was inferred from
    what NVIDIA's partners usually run.

    Returns:
        accelerator, kind (GPU or CPU), devices, engine, precision (both NaN: not known), round,
        source, offline, server, interactive (NaN: no result; absent: none of any system).
    """
    with (resources.files("loadgen_study") / "embedded" / "published.csv").open() as file:
        known = pd.read_csv(file)
    own = known[known["benchmark"] == benchmark.suite.folder].drop(columns="benchmark")
    rated = own.drop(columns=[name for name in COLUMNS if own[name].isna().all()])
    if "offline" not in rated:
        return rated
    return rated.sort_values("offline", ascending=False, ignore_index=True)


def _column(params: RunParams) -> str:
    return params.rules.submitted_as(params.scenario).lower()


def obstacles(params: RunParams, rules: Sequence[Rule]) -> list[str]:
    """Why a run cannot be compared with the published results; empty if it can.

    If task or engine differ, only the titles of the broken rules: the report has their values.
    """
    if _column(params) not in results(params.rules):
        return [f"no published result is known for {params.benchmark} in {params.scenario}"]
    if not params.engine_traits.started_here:
        return ["the server's accelerators are not known"]
    # All others may be a matter of degree.
    broken = [rule for rule in departures(rules) if rule.part in ("task", "engine")]
    return [f"other {', '.join(rule.title.lower() for rule in broken)}"] if broken else []


@dataclass(frozen=True)
class Share:
    """A rate as a share of a published one, tokens/s per accelerator.

    Attributes:
        title: of the published result among others. system: whose it is, and where it was read.
    """

    title: str
    share: float
    tokens_per_s: float
    system: str


def shares(params: RunParams, tokens_per_s: float, devices: int, kind: str = "GPU") -> list[Share]:
    """The run's tokens/s per accelerator as shares of the best published ones.

    Args:
        params: of a run without ``obstacles``.
        tokens_per_s: of the whole system. devices: accelerators it used.
        kind: "GPU", or "CPU" for a system without accelerators, which counts as one.
    """
    name, known = _column(params), results(params.rules)
    if name not in known:
        return []
    own = tokens_per_s / max(1, devices)
    known = known.dropna(subset=[name]).sort_values(name, ascending=False)
    best = {
        "best published": known,
        "best with vLLM": known[known["engine"].str.startswith("vLLM", na=False)],
    }
    if kind == "CPU":
        best["best on CPUs"] = known[known["kind"] == "CPU"]
    return [
        Share(title, own / rows.iloc[0][name], rows.iloc[0][name], _system(rows.iloc[0]))
        for title, rows in best.items()
        if len(rows)
    ]


def _system(row: pd.Series) -> str:
    """A published system with its engine, precision, round and source, as far as known."""
    known = [row[key] for key in ("engine", "precision", "round", "source") if pd.notna(row[key])]
    return f"{row['devices']} x {row['accelerator']} ({', '.join(known)})"
