"""Figures of a sweep: latency against throughput, the system's speed against a user's."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vllm_loadgen.analysis.percentiles import PERCENTILES, lacking
from vllm_loadgen.analysis.words import count, per_s, say_ms
from vllm_loadgen.report.style import BLUE, GREEN, ORANGE, Figure, figure, legend_above

# Labels nearer than this, in points, would lie over each other.
LABEL_POINTS = 14


def sweep_curves(table: pd.DataFrame, limits_ms: dict[str, float]) -> Figure:
    """What a sweep found: latency against throughput, and the system's speed against a user's.

    The second is the curve of MLPerf Endpoints: tokens/s of the system over tokens/s that one
    user sees; no point of it can be improved in one without loss in the other. A third has the
    goodput at each rate.

    Args:
        table: of ``runs.sweep.sweep_table``.
        limits_ms: {"ttft": ..., "tpot": ...}; 0 where there is none.
    """
    fig, axes = figure(1, 3 if "rate" in set(table["kind"]) else 2, height=3.4)
    latency, pareto = axes[0][:2]
    shown = tail_of(table)
    kinds = (("rate", BLUE, "o-", "queries/s"), ("concurrency", ORANGE, "s--", "queries at once"))
    for kind, color, style, unit in kinds:
        points = table[table["kind"] == kind].sort_values("offered")
        if len(points):
            label = unit
            # Of queries that are all there at the start the TTFT is the length of the test.
            if kind == "rate" or set(table["kind"]) == {"concurrency"}:
                up = f"ttft_{shown}_ms"
                _draw_points(latency, points, "samples_per_s", up, style, color, label)
                _draw_bounds(latency, points, shown, color)
            _draw_points(pareto, points, "user_tokens_per_s", "tokens_per_s", style, color, label)
    for axis in axes[0][2:]:
        _draw_goodput(axis, table[table["kind"] == "rate"].sort_values("offered"))
    _shade_limits(latency, pareto, table, limits_ms)
    latency.set(xlabel="completed, queries/s", ylabel=_says(shown))
    latency.set_title("Latency against throughput", fontsize=10)
    pareto.set(xlabel="tokens/s that one user sees", ylabel="tokens/s of the system")
    pareto.set_title("The system's speed against a user's", fontsize=10)
    for axis in axes[0]:
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
        axis.margins(x=0.12)
        legend_above(axis)
        _label_points(axis)
    return fig


def _draw_points(
    axis: Axes, points: pd.DataFrame, across: str, up: str, style: str, color: str, label: str
) -> None:
    """One curve; ``_label_points`` writes beside each point what was offered there."""
    (line,) = axis.plot(points[across], points[up], style, color=color, label=label)
    line.set_gid(" ".join(f"{offered:g}" for offered in points["offered"]))


def _label_points(axis: Axes) -> None:
    """What was offered at each point of ``_draw_points``; of points that touch, the first's."""
    taken: list[np.ndarray] = []
    for line in axis.get_lines():
        for at, offered in zip(
            np.asarray(line.get_xydata()), (line.get_gid() or "").split(), strict=False
        ):
            place = axis.transData.transform(at) * 72 / axis.figure.dpi  # points
            if all(np.abs(place - other).max() > LABEL_POINTS for other in taken):
                axis.annotate(offered, at, (4, 5), textcoords="offset points", fontsize=8)
                taken.append(place)


def tail_of(table: pd.DataFrame) -> str:
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
    """Queries/s within the limits at each rate."""
    _draw_points(axis, rates, "offered", "goodput_per_s", "^-", GREEN, "within both limits")
    axis.set(xlabel="offered, queries/s", ylabel="queries/s")
    axis.set_title("Goodput", fontsize=10)


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
        f"{text}; of the rates goodput is highest, {per_s(best['goodput_per_s'])} within the "
        f"limits, with {_offer(best)}{shaded}."
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
    return f"{per_s(point['offered'])} offered"
