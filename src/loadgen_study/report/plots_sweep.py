"""Figures of a sweep: latency against throughput, the system's speed against a user's."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from loadgen_study.analysis.percentiles import PERCENTILES, lacking
from loadgen_study.report.style import BLUE, GREEN, ORANGE, PINK, RED, Figure, figure
from loadgen_study.words import count, per_s, say_ms

# Labels nearer than this, in points, would lie over each other.
LABEL_POINTS = 14
# What the legend names: colour, mark and line, and its mark's size. Only a sweep is a curve.
AT_ONCE = "sweep, queries at once"
SERIES = {"sweep": (BLUE, "o", "-", 6), AT_ONCE: (ORANGE, "s", "--", 6),
          "search": (PINK, "D", "", 6), "main test": (RED, "*", "", 13)}  # fmt: skip


def sweep_curves(table: pd.DataFrame, limits_ms: dict[str, float]) -> Figure:
    """What a sweep found: latency against throughput, and the system's speed against a user's.

    The second is the curve of MLPerf Endpoints: tokens/s of the system over tokens/s that one
    user sees; no point of it can be improved in one without loss in the other. A third has the
    goodput at each rate. The tests of a search and the main test stand beside the sweep's.

    Args:
        table: of ``runs.sweep.points_table``.
        limits_ms: {"ttft": ..., "tpot": ...}; 0 where there is none.
    """
    rates = table["kind"] == "rate"
    fig, axes = figure(1, 3 if rates.any() else 2, height=3.4)
    latency, pareto = axes[0][:2]
    shown = tail_of(table)
    # Of queries that are all there at the start the TTFT is the length of the test.
    limited = table[rates] if rates.any() else table
    _draw_points(latency, limited, "samples_per_s", f"ttft_{shown}_ms")
    _draw_bounds(latency, limited, shown)
    _draw_points(pareto, table, "user_tokens_per_s", "tokens_per_s")
    for axis in axes[0][2:]:
        _draw_points(axis, limited, "offered", "goodput_per_s")
        axis.set(xlabel="offered, queries/s", ylabel="within the limits, queries/s")
        axis.set_title("Goodput", fontsize=10)
    _shade_limits(latency, pareto, table, limits_ms)
    latency.set(xlabel="completed, queries/s", ylabel=_says(shown))
    latency.set_title("Latency against throughput", fontsize=10)
    pareto.set(xlabel="tokens/s that one user sees", ylabel="tokens/s of the system")
    pareto.set_title("The system's speed against a user's", fontsize=10)
    for axis in axes[0]:
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
        axis.margins(x=0.12)
        _label_points(axis)
    handles, names = pareto.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return fig


def series_of(table: pd.DataFrame) -> "pd.Series[str]":
    """Which of ``SERIES`` each test of a ``points_table`` belongs to."""
    return table["part"].where(table["kind"] == "rate", AT_ONCE)


def _draw_points(axis: Axes, table: pd.DataFrame, across: str, up: str) -> None:
    """The series of a table; ``_label_points`` writes beside each point what was offered there."""
    belongs = series_of(table)
    for place, (name, (color, mark, line, size)) in enumerate(SERIES.items()):
        points = table[belongs == name].sort_values("offered")
        if len(points):
            (drawn,) = axis.plot(
                points[across], points[up], color=color, marker=mark, linestyle=line,
                markersize=size, label=name, zorder=2 + place / 10,
            )  # fmt: skip
            drawn.set_gid(" ".join(f"{offered:.4g}" for offered in points["offered"]))


def _label_points(axis: Axes) -> None:
    """What was offered at each point of ``_draw_points``; of points that touch, the uppermost's."""
    taken: list[np.ndarray] = []
    for line in reversed(axis.get_lines()):
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


def _draw_bounds(axis: Axes, table: pd.DataFrame, shown: str) -> None:
    """From each percentile up to what it stays under at 99 % confidence."""
    if shown == "max":
        return
    for name, points in table.groupby(series_of(table)):
        at, upper = points[f"ttft_{shown}_ms"], points[f"ttft_{shown}_upper_ms"]
        across, bars, color = points["samples_per_s"], [0 * at, upper - at], SERIES[str(name)][0]
        axis.errorbar(across, at, bars, fmt="none", ecolor=color, capsize=3)


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
    """The sentence under ``sweep_curves``: the best of all tests in it, whatever they were for."""
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
    text += (
        f"; of the rates goodput is highest, {per_s(best['goodput_per_s'])} within the limits, "
        f"with {_offer(best)}"
    )
    if not any(limits_ms.values()):
        return f"{text}."
    return f"{text}{_highest_held(rates, best)}; the shaded regions keep the limits."


def _highest_held(rates: pd.DataFrame, best: pd.Series) -> str:
    """The highest rate that kept the limits, if it is not the one of the best goodput.

    A rate may break them and complete more within them than a lower one that keeps them; and of
    short tests a higher rate may complete less.
    """
    held = (rates["verdict"] == "VALID") | (rates["goodput_per_s"] >= rates["samples_per_s"])
    if not held.any():
        return ""
    highest = rates.loc[rates.loc[held, "offered"].idxmax()]
    if highest["offered"] == best["offered"]:
        return ""
    return f"; the highest rate that kept them is {_offer(highest)}"


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
    """What was offered, and in which test if that was none of the sweep's."""
    said = say_offer(point["kind"], point["offered"])
    if point["kind"] == "concurrency":
        return said
    part = "" if point["part"] == "sweep" else f" ({point['part']})"
    return f"{said} offered{part}"


def say_offer(kind: object, offered: float) -> str:
    """What was offered: "1 query/s", "8 queries at once"."""
    return per_s(offered, 4) if kind == "rate" else f"{count(int(offered), 'query')} at once"
