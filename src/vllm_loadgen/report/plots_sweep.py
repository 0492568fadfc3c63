"""Figures of a sweep: latency against throughput, the system's speed against a user's."""

import pandas as pd
from matplotlib.axes import Axes

from vllm_loadgen.analysis.percentiles import PERCENTILES, lacking
from vllm_loadgen.analysis.words import count, say_ms
from vllm_loadgen.report.style import BLUE, GREEN, ORANGE, Figure, figure, legend_above


def sweep_curves(table: pd.DataFrame, limits_ms: dict[str, float]) -> Figure:
    """What a sweep found: latency against throughput, and the system's speed against a user's.

    The second is the curve of MLPerf Endpoints: tokens/s of the system over tokens/s that one
    user sees; no point of it can be improved in one without loss in the other.

    Args:
        table: of ``runs.sweep.sweep_table``.
        limits_ms: {"ttft": ..., "tpot": ...}; 0 where there is none.
    """
    fig, axes = figure(1, 2, height=3.6)
    latency, pareto = axes[0]
    shown = _tail_of(table)
    kinds = (("rate", BLUE, "o-", "queries/s"), ("concurrency", ORANGE, "s--", "queries at once"))
    for kind, color, style, unit in kinds:
        points = table[table["kind"] == kind].sort_values("offered")
        if len(points):
            label = f"{unit} offered"
            # Of queries that are all there at the start the TTFT is the length of the test.
            if kind == "rate" or set(table["kind"]) == {"concurrency"}:
                up = f"ttft_{shown}_ms"
                _draw_points(latency, points, "samples_per_s", up, style, color, label)
                _draw_bounds(latency, points, shown, color)
            _draw_points(pareto, points, "user_tokens_per_s", "tokens_per_s", style, color, label)
    _draw_goodput(latency, table[table["kind"] == "rate"].sort_values("offered"))
    _shade_limits(latency, pareto, table, limits_ms)
    latency.margins(y=0.15)
    latency.set(xlabel="completed, queries/s", ylabel=_says(shown))
    latency.set_title("Latency against throughput", fontsize=10)
    pareto.set(xlabel="tokens/s that one user sees", ylabel="tokens/s of the system")
    pareto.set_title("The system's speed against a user's", fontsize=10)
    for axis in (latency, pareto):
        axis.set_ylim(bottom=0)
        legend_above(axis)
    return fig


def _draw_points(
    axis: Axes, points: pd.DataFrame, across: str, up: str, style: str, color: str, label: str
) -> None:
    """One curve, each point with what was offered there."""
    axis.plot(points[across], points[up], style, color=color, label=label)
    for x, y, offered in zip(points[across], points[up], points["offered"], strict=True):
        axis.annotate(f"{offered:g}", (x, y), (4, 5), textcoords="offset points", fontsize=8)


def _tail_of(table: pd.DataFrame) -> str:
    """The highest percentile of TTFT that every test has queries for: "p99"; "max" without one."""
    for label in reversed(PERCENTILES):
        if f"ttft_{label}_ms" in table and table[f"ttft_{label}_ms"].notna().all():
            return label
    return "max"


def _says(shown: str) -> str:
    return "maximum TTFT, ms" if shown == "max" else f"{shown} TTFT, and its bound, ms"


def _draw_bounds(axis: Axes, points: pd.DataFrame, shown: str, color: str) -> None:
    """From each percentile up to what it stays under at 99 % confidence."""
    if shown == "max":
        return
    at, upper = points[f"ttft_{shown}_ms"], points[f"ttft_{shown}_upper_ms"]
    across, bars = points["samples_per_s"], [0 * at, upper - at]
    axis.errorbar(across, at, bars, fmt="none", ecolor=color, capsize=3)


def _draw_goodput(axis: Axes, rates: pd.DataFrame) -> None:
    """Queries/s within the limits, on an axis of its own at the right."""
    if rates.empty:
        return
    twin = axis.twinx()
    twin.plot(rates["samples_per_s"], rates["goodput_per_s"], "^:", color=GREEN)
    twin.set_ylabel("goodput (triangles), queries/s", color=GREEN, fontsize=9)
    twin.set_ylim(bottom=0)
    twin.grid(visible=False)


def _shade_limits(
    latency: Axes, pareto: Axes, table: pd.DataFrame, limits_ms: dict[str, float]
) -> None:
    """The region that keeps the limits."""
    if limits_ms["ttft"]:
        latency.axhspan(0, limits_ms["ttft"], color=GREEN, alpha=0.08)
    if limits_ms["tpot"]:
        least = 1e3 / limits_ms["tpot"]
        right = max(1.1 * table["user_tokens_per_s"].max(), 1.1 * least)
        pareto.axvspan(least, right, color=GREEN, alpha=0.08)


def sweep_caption(table: pd.DataFrame, limits_ms: dict[str, float]) -> str:
    """The sentence under ``sweep_curves``."""
    fastest = table.loc[table["tokens_per_s"].idxmax()]
    text = (
        f"The most tokens/s, {fastest['tokens_per_s']:,.0f}, came with {_offer(fastest)}, where "
        f"a user sees {fastest['user_tokens_per_s']:.1f} tokens/s"
    )
    if fastest["kind"] == "rate":
        text += f" and TTFT has {_ttft(fastest)}"
    rates = table[table["kind"] == "rate"]
    if rates.empty:
        return f"{text}."
    best = rates.loc[rates["goodput_per_s"].idxmax()]
    shaded = "; the shaded regions keep the limits" if any(limits_ms.values()) else ""
    return (
        f"{text}; of the rates goodput is highest, {best['goodput_per_s']:.3g} queries/s within "
        f"the limits, with {_offer(best)}{shaded}."
    )


def _ttft(point: pd.Series) -> str:
    """Its highest percentile with a bound, and what a p99 lacks."""
    label = next((n for n in reversed(PERCENTILES) if pd.notna(point.get(f"ttft_{n}_ms"))), None)
    if label is None:
        said = f"a maximum of {say_ms(point['ttft_max_ms'])}"
    else:
        at, upper = point[f"ttft_{label}_ms"], point[f"ttft_{label}_upper_ms"]
        said = f"a {label} of {say_ms(at)} (at most {say_ms(upper)})"
    lacks = lacking(int(point["queries"]))
    return f"{said} ({lacks})" if lacks else said


def _offer(point: pd.Series) -> str:
    if point["kind"] == "concurrency":
        return f"{count(int(point['offered']), 'query')} at once"
    return f"{point['offered']:g} queries/s offered"
