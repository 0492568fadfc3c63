"""The whole test on one page, by seaborn: benchmark_results_visualization.png."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from loadgen_study.report.figures.base import BLUE, GREEN, ORANGE, RED, bins
from loadgen_study.report.figures.queries import (
    FAR_LIMIT,
    NAMES,
    PARTS,
    limit_of,
    marks,
    short,
    stretch,
)
from loadgen_study.results.test import Test

STYLE = {"grid.color": "#e6e6e6", "axes.edgecolor": "#999999"}


def overview(test: Test, title: str) -> Figure:
    """Distributions, latencies, load, timeline and throughput of a test."""
    with sns.axes_style("whitegrid", STYLE):
        fig = Figure(figsize=(9.5, 9.6), layout="constrained")
        axes = fig.subplots(3, 2)
    fig.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    _distribution(axes[0, 0], test, "ttft")
    _distribution(axes[0, 1], test, "tpot")
    _latency_over_time(axes[1, 0], test)
    _load(axes[1, 1], test)
    _timeline(axes[2, 0], test)
    _throughput(axes[2, 1], test)
    for axis in axes.flat:
        sns.despine(ax=axis)
        if axis.get_legend_handles_labels()[0]:  # above the data, where it hides nothing
            axis.legend(fontsize=8, frameon=False, ncols=3, loc="lower center",
                        bbox_to_anchor=(0.5, 0.985), borderaxespad=0)  # fmt: skip
    return fig


def _named(axis: Axes, title: str, across: str, up: str) -> None:
    axis.set(xlabel=across, ylabel=up)
    axis.set_title(title, fontsize=10, pad=20)  # room for the legend


def _distribution(axis: Axes, test: Test, name: str) -> None:
    """Histogram of one of ``NAMES``, its ``marks``, and the limit if it is near the data."""
    values = test.latencies[f"{name}_ms"].dropna()
    _named(axis, NAMES[name], f"{short(name)}, ms", "queries")
    if values.empty:
        return
    sns.histplot(values, bins=bins(values), ax=axis, color=BLUE, linewidth=0.5)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    for mark in marks(test, name):
        style = "-" if mark.label == "p50" else "--"
        axis.axvline(
            mark.at_ms, color="black", linestyle=style, label=f"{mark.label} {mark.at_ms:,.0f}"
        )
    limit_ms, _ = limit_of(test, name)
    if limit_ms > FAR_LIMIT * values.max():
        axis.plot([], [], ":", color=RED, label=f"limit {limit_ms:,.0f}, off to the right")
    elif limit_ms:
        axis.axvline(limit_ms, color=RED, linestyle=":", label=f"limit {limit_ms:,.0f}")


def _latency_over_time(axis: Axes, test: Test) -> None:
    """A rising line is a growing queue; queries due all at once stand in order of issue."""
    frame = test.latencies
    spread = frame["scheduled_s"].nunique() > 1
    across = frame["scheduled_s"] if spread else pd.Series(np.arange(len(frame)))
    for name, color, mark in (("latency", BLUE, "o"), ("ttft", ORANGE, "^")):
        axis.plot(across, frame[f"{name}_ms"] / 1e3, mark, color=color, markersize=3.5,
                  label=short(name))  # fmt: skip
    axis.set_ylim(bottom=0)
    named = "due at, s" if spread else "query, in order of issue"
    _named(axis, "Latency of each query", named, "latency, s")


def _load(axis: Axes, test: Test) -> None:
    load = test.load_over_time
    axis.fill_between(load["time_s"], load["in_flight"], step="post", color=BLUE, alpha=0.3,
                      label="in the system")  # fmt: skip
    axis.step(load["time_s"], load["waiting"], where="post", color=RED, label="waiting")
    axis.set_ylim(bottom=0)
    _named(axis, "Queries in the system", "time, s", "queries")


def _timeline(axis: Axes, test: Test) -> None:
    """Queue, prefill and decode of a stretch; where no start is known, queue and prefill as one."""
    some = test.latencies.reset_index(drop=True).loc[slice(*stretch(len(test.latencies)))]
    some = some.dropna(subset=["first_token_s", "done_s"])
    due, first, begun = some["scheduled_s"], some["first_token_s"], some["started_s"]
    edges = {"queue": (due, begun.clip(lower=due)), "prefill": (begun.clip(lower=due), first)}
    if begun.isna().any():
        edges = {"queue + prefill": (due, first)}
    for part, (left, right) in {**edges, "decode": (first, some["done_s"])}.items():
        axis.barh(some.index, right - left, left=left, color=PARTS[part], height=0.8, label=part)
    if len(some):
        axis.invert_yaxis()
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    _named(axis, "Where each query's time went", "time, s", "query")


def _throughput(axis: Axes, test: Test) -> None:
    edges, rates = test.token_rates
    if len(edges):
        axis.step(edges, [*rates, rates[-1]], where="post", color=GREEN)
        axis.set_ylim(bottom=0)
    _named(axis, "Output tokens per second", "time, s", "tokens/s")
