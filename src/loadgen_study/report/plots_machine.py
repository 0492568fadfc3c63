"""Figures of what the queries ran on: batch and cache, the machine, its measured limits."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from loadgen_study.analysis.replicas import working
from loadgen_study.analysis.roofline import Roofline
from loadgen_study.report.plots_queries import draw_load, draw_throughput
from loadgen_study.report.style import BLUE, GREEN, ORANGE, RED, Figure, figure, legend_above
from loadgen_study.results.test import Test
from loadgen_study.words import count


def over_time(test: Test) -> Figure:
    """Queries, tokens, batch, cache, machine and GPUs over the test, as far as they tell."""
    panels: list[Callable[[Axes], None]] = [
        partial(draw_load, test=test), partial(draw_throughput, test=test)
    ]  # fmt: skip
    if len(test.steps):
        panels += [partial(_draw_batch, steps=test.steps), partial(_draw_cache, steps=test.steps)]
    if len(test.telemetry):
        machine = known(test.telemetry)
        shares = {"cpu_share": "machine", "own_cpu_share": "benchmark"}
        shares = {name: label for name, label in shares.items() if name in machine}
        samples = partial(_draw_samples, samples=machine)
        panels.append(partial(samples, columns=shares, title="CPU", unit="%", factor=100))
        panels += [partial(samples, columns={name: ""}, title=title, unit=unit, factor=factor)
                   for name, title, unit, factor in ONE_CURVE if name in machine]  # fmt: skip
    fig, axes = figure((len(panels) + 1) // 2, 2, height=2.4)
    for axis, draw in zip(axes.flat, panels, strict=False):
        draw(axis)
        axis.set_xlim(0, test.load_over_time["time_s"].max())
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return fig


def known(telemetry: pd.DataFrame) -> pd.DataFrame:
    """The columns of which something is known: not the server's share where it was not found."""
    return telemetry.dropna(axis="columns", how="all")


def _draw_batch(axis: Axes, steps: pd.DataFrame) -> None:
    styles = {"running": (BLUE, "-"), "waiting": (RED, "--")}
    for name, (color, line) in styles.items():
        axis.step(
            steps["time_s"], steps[name], where="post", color=color, linestyle=line, label=name
        )
    axis.set(xlabel="time, s", ylabel="queries")
    axis.set_title("Queries in the batch, and waiting for it", fontsize=10)
    legend_above(axis)


def _draw_cache(axis: Axes, steps: pd.DataFrame) -> None:
    axis.step(steps["time_s"], steps["kv_cache_share"] * 100, where="post", color=GREEN)
    axis.set(xlabel="time, s", ylabel="%")
    axis.set_title("KV cache in use", fontsize=10)


def occupancy_caption(test: Test) -> str:
    """The sentence under ``over_time`` on batch and cache."""
    if (steps := test.steps).empty:
        return "The engine tells nothing of its steps."
    evicted = int(steps["preempted"].sum())
    lost = f"{count(evicted, 'time')} a query" if evicted else "no query"
    return (
        f"In {count(len(working(steps)), 'step')} {test.load.mean_served:.1f} queries ran at once "
        f"on average and {steps['running'].max()} at most; the KV cache was "
        f"{steps['kv_cache_share'].max():.1%} full at most, and {lost} lost its place in it."
    )


# What a panel of its own shows, where it is known: (column, title, unit, factor).
ONE_CURVE = (
    ("own_memory_gib", "Memory of the benchmark", "GiB", 1.0),
    ("gpu_share", "GPU, busiest", "%", 100.0),
    ("gpu_memory_gib", "GPU memory", "GiB", 1.0),
    ("gpu_power_w", "GPU power", "W", 1.0),
    ("gpu_temperature_c", "GPU temperature", "degrees C", 1.0),
)


def _draw_samples(
    axis: Axes,
    samples: pd.DataFrame,
    columns: dict[str, str],
    title: str,
    unit: str,
    factor: float = 1.0,
) -> None:
    """Columns of the samples, {name: label}, over their time."""
    styles = ((BLUE, "-"), (ORANGE, "--"))
    top = 1.1 * factor * float(samples[[*columns]].max().max())
    for (name, label), (color, line) in zip(columns.items(), styles, strict=False):
        values = samples[name] * factor
        axis.plot(samples["time_s"], values, line, color=color, label=label)
    axis.set(xlabel="time, s", ylabel=unit)
    axis.set_ylim(0, top or 1)
    axis.set_title(title, fontsize=10)
    if len(columns) > 1:
        legend_above(axis)


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


def roofline(found: Roofline, tpot_ms: float) -> Figure:
    """Tokens a second that the machine's measured limits allow, by batch, and this run's.

    Args:
        tpot_ms: the mean of the run.
    """
    fig, axes = figure(height=3.8)
    axis = axes[0, 0]
    batch, reading, computing, reached = roofline_curves(found, tpot_ms)
    axis.plot(batch, reading, color=BLUE, linewidth=2, label="memory bandwidth")
    axis.axhline(computing, color=ORANGE, linewidth=2, linestyle="--", label="matrix rate")
    axis.fill_between(batch, np.minimum(reading, computing), color=BLUE, alpha=0.12)
    axis.plot(found.batch, reached, "D", color="black", markersize=7, label="this run's decode")
    axis.set(xscale="log", yscale="log", xlabel="queries at once", ylabel="tokens/s")
    for along in (axis.xaxis, axis.yaxis):
        along.set_major_locator(LogLocator(subs=(1, 2, 5)))
        along.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        along.set_minor_formatter(NullFormatter())
    axis.set_title("Decode against the machine's measured limits", fontsize=10)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor="white", loc="lower right")
    return fig


def roofline_curves(found: Roofline, tpot_ms: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Batches, the tokens/s that memory allows at each, what computing allows, and this run's."""
    batch = np.geomspace(1, max(256, 4 * found.batch), 200)
    reading = batch / found.reading_ms(batch) * 1e3
    computing = found.batch / found.decode_computing_ms * 1e3
    # Tokens/s of the mean batch at the mean TPOT: the run's rate while it decodes.
    return batch, reading, computing, found.batch / tpot_ms * 1e3


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
