"""Figures of what the queries ran on: one time axis for all of it, the machine's limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.roofline import Roofline
from loadgen_study.report.figures.base import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    WIDE,
    Figure,
    called,
    extremes,
    ruler,
    source,
    stretch_of_time,
    tooltip,
)
from loadgen_study.results.test import Test
from loadgen_study.words import count

HEIGHT = 75  # px of a panel
DASHES = ([1, 0], [6, 3])


# What a panel of its own shows, where it is known: (column, title, unit, factor).
ONE_CURVE = (
    ("own_memory_gib", "Memory of the benchmark", "GiB", 1.0),
    ("gpu_share", "GPU, busiest", "%", 100.0),
    ("gpu_memory_gib", "GPU memory", "GiB", 1.0),
    ("gpu_power_w", "GPU power", "W", 1.0),
    ("gpu_temperature_c", "GPU temperature", "degrees C", 1.0),
)


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


def over_time(test: Test) -> Figure:
    """Queries, batch, cache, tokens and machine over the test, on one axis that can be dragged."""
    tables = _tables(test)
    panels = [panel for panel in _panels(test) if len(tables[panel.table])]
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
        .properties(title=alt.Title(
            "The whole test", subtitle="Drag here to choose the time that all panels show."))
        .add_params(brush)
    )  # fmt: skip
    shown = [
        _panel(panel, tables[panel.table], brush, place, last=panel is panels[-1])
        for place, panel in enumerate(panels)
    ]
    chart = alt.vconcat(whole, *shown, spacing=12).resolve_scale(color="independent")
    return Figure(chart, tables)


def known(telemetry: pd.DataFrame) -> pd.DataFrame:
    """The columns of which something is known: not the server's share where it was not found."""
    return telemetry.dropna(axis="columns", how="all")


def _tables(test: Test) -> dict[str, pd.DataFrame]:
    """What the panels draw, times in s; of a long test's steps the extremes of each stretch."""
    steps, machine = extremes(test.steps, "running"), extremes(known(test.telemetry), "cpu_share")
    edges, rates = test.token_rates
    tokens_per_s = np.append(rates, rates[-1:])  # a step ends where the last window does
    tables = {
        "load": test.load_over_time.round({"time_s": 2}),
        "tokens": pd.DataFrame({"time_s": edges, "tokens_per_s": tokens_per_s}).round(2),
    }
    if len(steps):
        tables["steps"] = pd.DataFrame(
            {
                "time_s": steps["time_s"].round(3),
                "running": steps["running"],
                "waiting": steps["waiting"],
                "kv_cache_percent": (steps["kv_cache_share"] * 100).round(2),
            }
        )
    if len(machine):
        columns = {"time_s": machine["time_s"].round(2)}
        for name in ("cpu_share", "own_cpu_share"):
            if name in machine:
                columns[name.replace("share", "percent")] = (machine[name] * 100).round(1)
        for name, _, _, factor in ONE_CURVE:
            if name in machine:
                columns[name] = (machine[name] * factor).round(2)
        tables["machine"] = pd.DataFrame(columns)
    return tables


def _panels(test: Test) -> list[Panel]:
    found = [
        Panel("Queries in the system, and waiting of them", "queries", "load",
              {"in_flight": ("in the system", BLUE), "waiting": ("waiting", RED)}),
        Panel("Output tokens per second", "tokens/s", "tokens",
              {"tokens_per_s": ("tokens/s", GREEN)}),
    ]  # fmt: skip
    if len(test.steps):
        found += [
            Panel("Queries in the batch, and waiting for it", "queries", "steps",
                  {"running": ("running", BLUE), "waiting": ("waiting", RED)}),
            Panel("KV cache in use", "%", "steps", {"kv_cache_percent": ("in use, %", GREEN)}),
        ]  # fmt: skip
    if len(test.telemetry):
        machine = known(test.telemetry)
        shares = {"cpu_percent": ("machine", BLUE)}
        if "own_cpu_share" in machine:
            shares["own_cpu_percent"] = ("benchmark", ORANGE)
        found.append(Panel("CPU", "%", "machine", shares, False))
        found += [Panel(title, unit, "machine", {name: (unit, BLUE)}, False)
                  for name, title, unit, _ in ONE_CURVE if name in machine]  # fmt: skip
    return found


def _panel(
    panel: Panel, table: pd.DataFrame, brush: alt.Parameter, place: int, last: bool
) -> alt.LayerChart:
    """One panel; the last of them names the axis of all."""
    base = alt.Chart(source(panel.table, table), width=WIDE, height=HEIGHT)
    colors = dict(panel.curves.values())
    across = alt.X(
        "time_s:Q", title="time, s" if last else None, scale=alt.Scale(domain=brush, nice=False)
    )
    shown = tooltip(time_s="time, s", **{name: said for name, (said, _) in panel.curves.items()})
    shape = "step-after" if panel.stepped else "linear"
    curves = []
    for (name, (said, color)), dash in zip(panel.curves.items(), DASHES, strict=False):
        line = base.mark_line(interpolate=shape, strokeDash=dash, clip=True, color=color)
        line = line.encode(
            x=across, y=alt.Y(f"{name}:Q", title=panel.unit, scale=alt.Scale(zero=True))
        )
        curves.append(called(line, said, colors) if len(colors) > 1 else line)
    return alt.layer(*curves, ruler(base, f"at_{place}", shown)).properties(title=panel.title)


def roofline(found: Roofline, tpot_ms: float) -> Figure:
    """Tokens a second that the machine's measured limits allow, by batch, and this run's."""
    batch, reading, computing, reached = roofline_curves(found, tpot_ms)
    curves = pd.DataFrame(
        {
            "queries_at_once": batch.round(2),
            "memory_bandwidth": reading.round(1),
            "matrix_rate": round(computing, 1),
        }
    )
    run = pd.DataFrame({"queries_at_once": [round(found.batch, 2)],
                        "tokens_per_s": [round(reached, 1)]})  # fmt: skip
    colors = {"memory bandwidth": BLUE, "matrix rate": ORANGE}
    log = alt.Scale(type="log", nice=False)
    base = alt.Chart(source("roofline", curves), width=WIDE, height=280).encode(
        x=alt.X("queries_at_once:Q", title="queries at once", scale=log)
    )
    shown = tooltip(queries_at_once="queries at once", memory_bandwidth="memory allows, tokens/s",
                    matrix_rate="matrix rate allows, tokens/s")  # fmt: skip
    lines = [
        called(base.mark_line(strokeDash=dash, strokeWidth=2), name, colors).encode(
            y=alt.Y(f"{name.replace(' ', '_')}:Q", title="tokens/s", scale=log), tooltip=shown
        )
        for name, dash in zip(colors, DASHES, strict=True)
    ]
    point = (
        alt.Chart(source("run", run))
        .mark_point(shape="diamond", size=150, filled=True, color=RED)
        .encode(
            x="queries_at_once:Q", y="tokens_per_s:Q",
            tooltip=tooltip(queries_at_once="this run: queries at once",
                            tokens_per_s="its decode, tokens/s"),
        )
    )  # fmt: skip
    known = [] if np.isnan(reached) else [point]
    chart = alt.layer(*lines, *known).properties(
        title=alt.Title("Decode against the machine's measured limits",
                        subtitle="The red diamond is this run.")
    )  # fmt: skip
    return Figure(chart, {"roofline": curves, "run": run})


def roofline_curves(found: Roofline, tpot_ms: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Batches, the tokens/s that memory allows at each, what computing allows, and this run's."""
    batch = np.geomspace(1, max(256, 4 * found.batch), 200)
    reading = batch / found.reading_ms(batch) * 1e3
    computing = found.batch / found.decode_computing_ms * 1e3
    # Tokens/s of the mean batch at the mean TPOT: the run's rate while it decodes.
    return batch, reading, computing, found.batch / tpot_ms * 1e3


def steps(drawn: pd.DataFrame) -> Figure:
    """How long each step took against its least time, by the share of prefill in its tokens.

    Args:
        drawn: of ``anatomy.shown``.
    """
    tokens = drawn["prefill_tokens"] + drawn["decode_tokens"]
    table = drawn[["time_s", "prefill_tokens", "decode_tokens"]].assign(
        least_ms=drawn["least_ms"].round(3),
        took_ms=drawn["duration_ms"].round(3),
        prefill_percent=(drawn["prefill_tokens"] / tokens * 100).round(1),
        bound_by=np.where(drawn["computing"], "matrix rate", "memory bandwidth"),
    )
    table["time_s"] = table["time_s"].round(3)
    log = alt.Scale(type="log", nice=False)
    said = {"time_s": "its end, s", "took_ms": "took, ms", "least_ms": "least, ms",
            "bound_by": "least time set by", "prefill_tokens": "prefill tokens",
            "decode_tokens": "decode tokens"}  # fmt: skip
    dots = (
        alt.Chart(source("steps", table), width=WIDE, height=280)
        .mark_point(filled=True, size=25, opacity=0.7)
        .encode(
            x=alt.X("least_ms:Q", title="least time, ms", scale=log),
            y=alt.Y("took_ms:Q", title="time taken, ms", scale=log),
            color=alt.Color("prefill_percent:Q", title="prefill, % of its tokens",
                            scale=alt.Scale(scheme="viridis", domain=[0, 100]),
                            legend=alt.Legend(title="prefill, % of its tokens")),
            tooltip=tooltip(**said),
        )
    )  # fmt: skip
    ends = [drawn["least_ms"].min(), drawn["least_ms"].max()]
    at_limit = alt.InlineData([{"at": round(float(end), 3)} for end in ends])
    line = alt.Chart(at_limit).mark_line(color=GREY).encode(x="at:Q", y="at:Q")
    title = alt.Title("Each step against the machine's measured limits",
                      subtitle="A step on the line took its least time.")  # fmt: skip
    return Figure(alt.layer(line, dots).properties(title=title), {"steps": table})


# Captions ---------------------------------------------------------------------------------------
def occupancy_caption(steps: pd.DataFrame) -> str:
    """The sentence under ``over_time`` on batch and cache."""
    if steps.empty:
        return "The engine tells nothing of its steps."
    busy = steps[steps["running"] > 0]
    evicted = int(steps["preempted"].sum())
    lost = f"{count(evicted, 'time')} a query" if evicted else "no query"
    return (
        f"In {count(len(busy), 'step')} {busy['running'].mean():.1f} queries ran on average and "
        f"{busy['running'].max()} at most; the KV cache was {steps['kv_cache_share'].max():.1%} "
        f"full at most, and {lost} lost its place in it."
    )


def machine_caption(telemetry: pd.DataFrame) -> str:
    """The sentence under ``over_time`` on the machine."""
    if telemetry.empty:
        return "The test was too short for a sample of the machine."
    mean = telemetry.mean()
    text = f"The machine's cores were {mean['cpu_share']:.0%} busy on average"
    if np.isnan(mean["own_cpu_share"]):
        text += "; the server's share of it is not known"
    else:
        server = " and the server" if "server_cpu_share" in telemetry else ""
        text += (
            f", {mean['own_cpu_share']:.0%} with this benchmark{server}, which held "
            f"{telemetry['own_memory_gib'].max():.1f} GiB of memory at most"
        )
    gpus = []
    if "gpu_share" in telemetry:
        gpus.append(f"the busiest GPU was busy {mean['gpu_share']:.0%} of the time")
    units = {"gpu_memory_gib": "{:.1f} GiB", "gpu_power_w": "{:.0f} W"}
    peaks = [
        unit.format(telemetry[name].max()) for name, unit in units.items() if name in telemetry
    ]
    if peaks:
        gpus.append(f"{' and '.join(peaks)} at most")
    if "gpu_throttled" in telemetry:
        held = f"its clocks were held down in {mean['gpu_throttled']:.0%} of the samples"
        gpus.append(f"and {held}")
    return f"{text}; {', '.join(gpus)}." if gpus else f"{text}."


def roofline_caption(found: Roofline, tpot_ms: float) -> str:
    """The sentence under ``roofline``."""
    if np.isnan(tpot_ms):
        return "No answer has a time per output token to compare with the limits."
    made = found.batch / tpot_ms * 1e3
    allowed = found.batch / max(found.decode_limit_ms, found.decode_computing_ms) * 1e3
    return (
        f"The diamond: {made:,.0f} tokens/s while {found.batch:.1f} queries decode at once. The "
        f"machine's measured limits would allow {allowed:,.0f} at that batch."
    )
