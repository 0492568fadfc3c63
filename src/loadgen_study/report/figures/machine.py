"""Figures of what the queries ran on: one time axis for all of it, the machine's limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.replicas import working
from loadgen_study.analysis.roofline import Roofline
from loadgen_study.prose import render
from loadgen_study.report.figures.base import (
    BLUE,
    GREEN,
    GREY,
    LOG,
    ORANGE,
    RED,
    ROUND,
    WIDE,
    Figure,
    disturbed,
    extremes,
    in_legend,
    ruler,
    source,
    stretch_of_time,
    tooltip,
)
from loadgen_study.results.test import Test
from loadgen_study.words import percent

HEIGHT = 75  # px of a panel
DASHES = ([1, 0], [6, 3])


@dataclass(frozen=True)
class Panel:
    """One curve or two over time.

    Attributes:
        table: where they are. curves: columns, with the name and the colour of each.
    """

    title: str
    unit: str
    table: str
    curves: Mapping[str, tuple[str, str]]
    stepped: bool = True


PANELS = (
    Panel("Queries in the system, and waiting of them", "queries", "load",
          {"in_flight": ("in the system", BLUE), "waiting": ("waiting", RED)}),
    Panel("Output tokens per second", "tokens/s", "tokens", {"tokens_per_s": ("tokens/s", GREEN)}),
    Panel("KV cache in use", "%", "steps", {"kv_cache_percent": ("in use, %", GREEN)}),
    Panel("CPU", "%", "machine",
          {"cpu_percent": ("machine", BLUE), "own_cpu_percent": ("benchmark", ORANGE)}, False),
    Panel("Memory of the benchmark", "GiB", "machine", {"own_memory_gib": ("GiB", BLUE)}, False),
    Panel("GPU, busiest", "%", "machine", {"gpu_percent": ("%", BLUE)}, False),
    Panel("GPU memory", "GiB", "machine", {"gpu_memory_gib": ("GiB", BLUE)}, False),
    Panel("GPU power", "W", "machine", {"gpu_power_w": ("W", BLUE)}, False),
    Panel("GPU temperature", "degrees C", "machine", {"gpu_temperature_c": ("C", BLUE)}, False),
)  # fmt: skip


def over_time(test: Test) -> Figure:
    """Queries, batch, cache, tokens and machine over the test, on one axis that can be dragged."""
    tables = _tables(test)
    end_s = max(float(table["time_s"].max()) for table in tables.values() if len(table))
    brush = stretch_of_time("time", (0.0, end_s))
    load = tables["load"]
    whole = (
        alt.Chart(source("load", load), width=WIDE, height=36)
        .mark_area(interpolate="step-after", color=BLUE, opacity=0.4)
        .encode(
            x=alt.X("time_s:Q", title=None, scale=alt.Scale(domain=[0, end_s], nice=False)),
            y=alt.Y("in_flight:Q", title=None, axis=None),
        )
        .properties(title=alt.Title("Drag to choose the time that all panels show", fontSize=12))
        .add_params(brush)
    )
    shaded = disturbed(test.disturbed, "time, s")
    shown = []
    for panel in PANELS:
        table = tables.get(panel.table, pd.DataFrame())
        known = {name: said for name, said in panel.curves.items() if name in table}
        if known and len(table):
            shown.append(_panel(panel, table, known, brush, shaded))
    below = alt.vconcat(*shown, spacing=12).resolve_scale(x="shared", color="independent")
    return Figure(alt.vconcat(whole, below).resolve_scale(color="independent"), tables)


def _tables(test: Test) -> dict[str, pd.DataFrame]:
    """What the panels draw, times in s; of a long test's steps the extremes of each stretch."""
    steps, (edges, rates) = extremes(test.steps, "kv_cache_share"), test.token_rates
    tokens_per_s = np.append(rates, rates[-1:])  # a step ends where the last window does
    tables = {
        "load": test.load_over_time.round({"time_s": 2}),
        "tokens": pd.DataFrame({"time_s": edges, "tokens_per_s": tokens_per_s}).round(2),
    }
    if len(steps):
        used = (steps["kv_cache_share"] * 100).round(2)
        tables["steps"] = pd.DataFrame(
            {"time_s": steps["time_s"].round(3), "kv_cache_percent": used}
        )
    if len(test.telemetry):
        # Columns of which something is known: not the server's share where it was not found.
        machine = extremes(test.telemetry, "cpu_share").dropna(axis="columns", how="all")
        shares = {name: name.replace("share", "percent") for name in machine if "share" in name}
        machine = machine.assign(**{name: (machine[name] * 100).round(1) for name in shares})
        drawn = ["time_s", *(name for panel in PANELS for name in panel.curves)]
        tables["machine"] = machine.rename(columns=shares).filter(items=drawn).round(2)
    return tables


def _panel(
    panel: Panel,
    table: pd.DataFrame,
    known: Mapping[str, tuple[str, str]],
    brush: alt.Parameter,
    shaded: list[alt.Chart],
) -> alt.LayerChart:
    """A panel: its known curves and the shaded times."""
    base = alt.Chart(source(panel.table, table), width=WIDE, height=HEIGHT)
    colors = dict(known.values())
    across = alt.X("time_s:Q", title="time, s", scale=alt.Scale(domain=brush, nice=False))
    shown = tooltip(time_s="time, s", **{name: said for name, (said, _) in known.items()})
    shape = "step-after" if panel.stepped else "linear"
    curves = []
    for (name, (said, color)), dash in zip(known.items(), DASHES, strict=False):
        line = base.mark_line(interpolate=shape, strokeDash=dash, clip=True, color=color)
        line = line.encode(x=across, y=alt.Y(f"{name}:Q", title=panel.unit))
        curves.append(in_legend(line, said, colors) if len(colors) > 1 else line)
    hover = ruler(base, f"at_{next(iter(known))}", shown)
    return alt.layer(*curves, *shaded, hover).properties(title=panel.title)


def roofline(found: Roofline, tpot_ms: float) -> Figure:
    """Tokens/s that the machine's measured limits allow, by batch, and this run's.

    Args:
        tpot_ms: mean TPOT; NaN draws the limits alone.
    """
    batch = np.geomspace(1, max(256, 4 * found.batch), 200)
    reading = batch / found.reading_ms(batch) * 1e3
    computing = found.batch / found.decode_computing_ms * 1e3
    curves = pd.DataFrame(
        {
            "queries_at_once": batch.round(2),
            "memory_bandwidth": reading.round(1),
            "matrix_rate": round(computing, 1),
        }
    )
    # Tokens/s of the mean batch at the mean TPOT: the run's rate while it decodes.
    reached = round(found.batch / tpot_ms * 1e3, 1)
    bottom = np.nanmin([reading[0], computing, reached]) / 1.5
    run = pd.DataFrame({"queries_at_once": [round(found.batch, 2)], "tokens_per_s": [reached]})
    colors = {"memory bandwidth": BLUE, "matrix rate": ORANGE}
    base = alt.Chart(source("roofline", curves), width=WIDE, height=280).encode(
        x=alt.X("queries_at_once:Q", title="decode batch, queries", scale=LOG, axis=ROUND)
    )
    allowed = (
        base.mark_area(color=BLUE, opacity=0.12)
        .transform_calculate(allowed="min(datum.memory_bandwidth, datum.matrix_rate)")
        .encode(
            y=alt.Y("allowed:Q", title="decode, tokens/s", scale=LOG, axis=ROUND, stack=None),
            y2=alt.datum(bottom),
        )
    )
    shown = tooltip(queries_at_once="batch, queries", memory_bandwidth="memory allows, tokens/s",
                    matrix_rate="matrix rate allows, tokens/s")  # fmt: skip
    lines = [
        in_legend(base.mark_line(strokeDash=dash, strokeWidth=2), name, colors).encode(
            y=alt.Y(f"{name.replace(' ', '_')}:Q", scale=LOG, axis=ROUND), tooltip=shown
        )
        for name, dash in zip(colors, DASHES, strict=True)
    ]
    point = (
        alt.Chart(source("run", run))
        .mark_point(shape="diamond", size=150, filled=True, color=RED, opacity=1)
        .encode(
            x="queries_at_once:Q", y="tokens_per_s:Q",
            tooltip=tooltip(queries_at_once="this run: batch, queries",
                            tokens_per_s="its decode, tokens/s"),
        )
    )  # fmt: skip
    title = alt.Title("Decode against the measured limits", subtitle="Diamond: this run.")
    chart = alt.layer(allowed, *lines, *([] if np.isnan(reached) else [point]))
    return Figure(chart.properties(title=title), {"roofline": curves, "run": run})


def steps(drawn: pd.DataFrame) -> Figure:
    """The time that each of ``anatomy.shown`` took, its least time, and its share of prefill."""
    tokens = drawn["prefill_tokens"] + drawn["decode_tokens"]
    table = drawn[["time_s", "prefill_tokens", "decode_tokens"]].assign(
        least_ms=drawn["least_ms"].round(3),
        took_ms=drawn["duration_ms"].round(3),
        prefill_percent=(drawn["prefill_tokens"] / tokens * 100).round(1),
        bound_by=np.where(drawn["computing"], "matrix rate", "memory bandwidth"),
    )
    table["time_s"] = table["time_s"].round(3)
    said = {"time_s": "its end, s", "took_ms": "took, ms", "least_ms": "least, ms",
            "bound_by": "least time set by", "prefill_tokens": "prefill tokens",
            "decode_tokens": "decode tokens"}  # fmt: skip
    dots = (
        alt.Chart(source("steps", table), width=WIDE, height=280)
        .mark_point(filled=True, size=25, opacity=0.7)
        .encode(
            x=alt.X("least_ms:Q", title="least time, ms", scale=LOG, axis=ROUND),
            y=alt.Y("took_ms:Q", title="time taken, ms", scale=LOG, axis=ROUND),
            color=alt.Color("prefill_percent:Q",
                            scale=alt.Scale(range=[BLUE, ORANGE], domain=[0, 100]),
                            legend=alt.Legend(title="prefill, % of the step's tokens",
                                              titleFontWeight="normal")),
            tooltip=tooltip(**said),
        )
    )  # fmt: skip
    ends = [drawn["least_ms"].min(), drawn["least_ms"].max()]
    at_limit = alt.InlineData([{"at": round(float(end), 3)} for end in ends])
    line = alt.Chart(at_limit).mark_line(color=GREY).encode(x="at:Q", y="at:Q")
    title = alt.Title("Each step against the measured limits",
                      subtitle="On the line: a step that took its least time.")  # fmt: skip
    return Figure(alt.layer(line, dots).properties(title=title), {"steps": table})


# Captions ---------------------------------------------------------------------------------------
def occupancy_caption(test: Test) -> str:
    """The batch over time, the KV cache and preemptions."""
    steps = test.steps
    busy = working(steps) if len(steps) else steps
    known: dict[str, object] = {}
    if len(busy):
        known = {
            "batch": test.load.mean_served,
            "most": steps["running"].max(),
            "kv_share": steps["kv_cache_share"].max(),
            "preempted": int(steps["preempted"].sum()),
        }
    return render("report/figures/occupancy", steps=len(busy), **known)


def machine_caption(telemetry: pd.DataFrame) -> str:
    """CPU, memory and GPUs: means of the shares, maxima of the rest."""
    if telemetry.empty:
        return render("report/figures/machine", cpu={}, gpu=[])
    mean, most = telemetry.mean(), telemetry.max()
    cpu = {
        "share": mean["cpu_share"],
        "own": mean["own_cpu_share"],
        "server": "server_cpu_share" in telemetry,
        "memory_gib": most["own_memory_gib"],
    }
    said = {
        "gpu_share": f"the busiest {percent(mean.get('gpu_share', 0))} busy",
        "gpu_memory_gib": f"at most {most.get('gpu_memory_gib', 0):.1f} GiB",
        "gpu_power_w": f"at most {most.get('gpu_power_w', 0):.0f} W",
        "gpu_throttled": f"clocks held down in {percent(mean.get('gpu_throttled', 0))} of samples",
    }
    gpu = [text for name, text in said.items() if name in telemetry]
    return render("report/figures/machine", cpu=cpu, gpu=gpu)


def roofline_caption(found: Roofline, tpot_ms: float) -> str:
    """This run's decode rate and what the limits allow at its batch."""
    return render(
        "report/figures/roofline",
        made=found.batch / tpot_ms * 1e3,
        batch=found.batch,
        allowed=found.batch / max(found.decode_limit_ms, found.decode_computing_ms) * 1e3,
    )
