"""Records to figures: pure functions that return a matplotlib Figure.

One style for all: seaborn's colour-blind palette, thin lines, no more ink than the data need; what
is told apart by colour differs in line or lightness too, so that it survives a grey printer.
"""

import io
import itertools
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import figure as mpl_figure
from matplotlib.axes import Axes

from vllm_loadgen import analysis

BLUE, ORANGE, GREEN, RED, GREY = "#0173b2", "#de8f05", "#029e73", "#b2182b", "#949494"
PARTS = {"queue": GREY, "prefill": ORANGE, "decode": BLUE}
TIMELINE_QUERIES = 60
NAMES = {"ttft": "Time to first token", "tpot": "Time per output token"}


class Figure(mpl_figure.Figure):
    """A figure that a notebook shows as it is, without pyplot keeping it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def figure(rows: int = 1, columns: int = 1, height: float = 3.4) -> tuple[Figure, np.ndarray]:
    """A figure with its axes, in the project's style."""
    with sns.axes_style("whitegrid", {"grid.color": "#e6e6e6", "axes.edgecolor": "#999999"}):
        fig = Figure(figsize=(9.5 if columns > 1 else 7.5, height * rows), layout="constrained")
        axes = fig.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        sns.despine(ax=axis)
    return fig, axes


def overview(records: pd.DataFrame, result: dict[str, Any], title: str) -> Figure:
    """The whole test on one page: benchmark_results_visualization.png."""
    fig, axes = figure(3, 2, height=3.2)
    frame = analysis.latencies(records)
    fig.suptitle(title, fontsize=13, fontweight="bold")
    draw_distribution(axes[0, 0], frame, result, "ttft")
    draw_distribution(axes[0, 1], frame, result, "tpot")
    draw_latency_over_time(axes[1, 0], frame)
    draw_load(axes[1, 1], records)
    draw_timeline(axes[2, 0], frame)
    draw_throughput(axes[2, 1], frame)
    return fig


def latency_distributions(records: pd.DataFrame, result: dict[str, Any]) -> Figure:
    """TTFT and TPOT of all queries, with the limits that LoadGen judged by."""
    fig, axes = figure(1, 2)
    frame = analysis.latencies(records)
    draw_distribution(axes[0, 0], frame, result, "ttft")
    draw_distribution(axes[0, 1], frame, result, "tpot")
    return fig


def load_and_latency(records: pd.DataFrame) -> Figure:
    """Where the queries were over the test, and how long each took."""
    fig, axes = figure(1, 2)
    draw_load(axes[0, 0], records)
    draw_latency_over_time(axes[0, 1], analysis.latencies(records))
    return fig


def timeline(records: pd.DataFrame) -> Figure:
    """Each query as a bar of queueing, prefill and decode."""
    fig, axes = figure(height=4.0)
    draw_timeline(axes[0, 0], analysis.latencies(records))
    return fig


def lengths(records: pd.DataFrame) -> Figure:
    """Prompt and answer lengths."""
    fig, axes = figure(1, 2, height=2.8)
    for axis, name, color in ((axes[0, 0], "input", BLUE), (axes[0, 1], "output", ORANGE)):
        values = records[f"{name}_tokens"]
        sns.histplot(values, bins=20, ax=axis, color=color, alpha=0.85)
        axis.set(xlabel=f"{name} tokens", ylabel="queries")
        axis.set_title(f"{name.capitalize()}: mean {values.mean():.0f} tokens", fontsize=10)
    return fig


def draw_distribution(axis: Axes, frame: pd.DataFrame, result: dict[str, Any], name: str) -> None:
    """Histogram of TTFT or TPOT, its p50 and p99, and the limit if it is near the data."""
    values = frame[f"{name}_ms"].dropna()
    axis.set(xlabel=f"{name.upper()}, ms", ylabel="queries")
    axis.set_title(NAMES[name], fontsize=10)
    if values.empty:
        return
    sns.histplot(values, bins=24, ax=axis, color=BLUE, alpha=0.8)
    for label, share, style in (("p50", 0.5, "-"), ("p99", 0.99, "--")):
        at = analysis.percentile(values, share)
        axis.axvline(at, color="black", linestyle=style, linewidth=1.2, label=f"{label} {at:,.0f}")
    limit_ms = result.get("effective_settings", {}).get(f"{name}_latency", 0) / 1e6
    if limit_ms and result["scenario"] == "Server":
        axis.axvline(
            limit_ms, color=RED, linestyle=":", linewidth=2, label=f"limit {limit_ms:,.0f}"
        )
    axis.legend(fontsize=8, framealpha=0.9, edgecolor="white")


def draw_latency_over_time(axis: Axes, frame: pd.DataFrame) -> None:
    """Latency and TTFT of each query at its due time: a rising line is a growing queue."""
    for name, color, marker in (("latency", BLUE, "o"), ("ttft", ORANGE, "^")):
        label = "latency" if name == "latency" else "TTFT"
        axis.plot(
            frame["scheduled_s"], frame[f"{name}_ms"] / 1e3, marker, color=color,
            markersize=3.5, alpha=0.8, label=label,
        )  # fmt: skip
    axis.set(xlabel="due at, s", ylabel="s")
    axis.set_ylim(bottom=0)
    axis.set_title("Latency of each query over the test", fontsize=10)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor="white")


def draw_load(axis: Axes, records: pd.DataFrame) -> None:
    """Queries in the system, and those of them not begun."""
    load = analysis.load_over_time(records)
    axis.fill_between(
        load["time_s"], load["in_flight"], step="post", color=BLUE, alpha=0.3, label="in flight"
    )
    axis.step(
        load["time_s"], load["waiting"], where="post", color=RED, linewidth=1.2, label="waiting"
    )
    axis.set(xlabel="time, s", ylabel="queries")
    axis.set_ylim(bottom=0)
    axis.set_title("Queries in flight, and waiting of them", fontsize=10)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor="white")


def draw_timeline(axis: Axes, frame: pd.DataFrame) -> None:
    """Queue, prefill and decode of up to ``TIMELINE_QUERIES`` queries, evenly chosen."""
    chosen = np.unique(np.linspace(0, len(frame) - 1, TIMELINE_QUERIES).astype(int))
    some = frame.iloc[chosen].dropna(subset=["first_token_s", "done_s"]).reset_index(drop=True)
    begun = some["started_s"].fillna(some["scheduled_s"]).clip(lower=some["scheduled_s"])
    edges = {
        "queue": (some["scheduled_s"], begun),
        "prefill": (begun, some["first_token_s"]),
        "decode": (some["first_token_s"], some["done_s"]),
    }
    for part, (left, right) in edges.items():
        axis.barh(some.index, right - left, left=left, color=PARTS[part], height=0.8, label=part)
    axis.set(xlabel="time, s", ylabel="query")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    kind = "Queries" if len(chosen) == len(frame) else f"{len(chosen)} of {len(frame)} queries"
    axis.set_title(f"{kind}: queue, prefill, decode", fontsize=10)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor="white")


def draw_throughput(axis: Axes, frame: pd.DataFrame, windows: int = 20) -> None:
    """Output tokens a second, each answer's tokens spread over its decode."""
    done = frame.dropna(subset=["first_token_s", "done_s"])
    axis.set(xlabel="time, s", ylabel="tokens/s")
    axis.set_title("Output tokens per second", fontsize=10)
    if done.empty:
        return
    edges = np.linspace(0, done["done_s"].max(), windows + 1)
    first, last = done["first_token_s"].to_numpy(), done["done_s"].to_numpy()
    length = np.maximum(last - first, 1e-9)
    rates = []
    for left, right in itertools.pairwise(edges):
        share = np.clip(np.minimum(last, right) - np.maximum(first, left), 0, None) / length
        rates.append(float((share * done["output_tokens"]).sum() / (right - left)))
    axis.step(edges, [*rates, rates[-1]], where="post", color=GREEN, linewidth=1.5)
    axis.fill_between(edges, [*rates, rates[-1]], step="post", color=GREEN, alpha=0.2)
    axis.set_ylim(bottom=0)
