"""Figures of what the queries ran on: batch and cache, the machine, its measured limits."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vllm_loadgen.analysis.roofline import Roofline
from vllm_loadgen.analysis.words import count
from vllm_loadgen.report.style import BLUE, GREEN, ORANGE, RED, Figure, figure, legend_above


def occupancy(steps: pd.DataFrame) -> Figure:
    """Batch and KV cache over the test, by the engine's own statistics of each step."""
    fig, axes = figure(2, 1, height=2.4)
    running, cache = axes[:, 0]
    running.step(steps["time_s"], steps["running"], where="post", color=BLUE, label="running")
    running.step(
        steps["time_s"], steps["waiting"], where="post", color=RED, linestyle="--", label="waiting"
    )
    running.set(xlabel="time, s", ylabel="queries")
    running.set_title("Queries in the batch, and waiting for it", fontsize=10)
    cache.step(steps["time_s"], steps["kv_cache_share"] * 100, where="post", color=GREEN)
    cache.set(xlabel="time, s", ylabel="%")
    cache.set_title("KV cache in use", fontsize=10)
    for axis in (running, cache):
        axis.set_ylim(bottom=0)
    legend_above(running)
    return fig


def occupancy_caption(steps: pd.DataFrame) -> str:
    """The sentence under ``occupancy``."""
    if steps.empty:
        return "The engine tells nothing of its steps."
    busy = steps[steps["running"] > 0]
    evicted = int(steps["preempted"].sum())
    lost = f"{count(evicted, 'query')} evicted from it" if evicted else "no query evicted from it"
    return (
        f"In {len(busy):,} steps {busy['running'].mean():.1f} queries ran on average and "
        f"{busy['running'].max()} at most; the KV cache was {steps['kv_cache_share'].max():.1%} "
        f"full at most, and {lost}."
    )


# What a GPU may tell: (column, title, unit, factor).
GPU_PANELS = (
    ("gpu_share", "GPU, busiest", "%", 100.0),
    ("gpu_memory_gib", "GPU memory", "GiB", 1.0),
    ("gpu_power_w", "GPU power", "W", 1.0),
    ("gpu_temperature_c", "GPU temperature", "degrees C", 1.0),
)


def machine_load(telemetry: pd.DataFrame) -> Figure:
    """CPU and memory over the test, and what the GPUs tell of themselves where there are any."""
    panels = [panel for panel in GPU_PANELS if panel[0] in telemetry]
    fig, axes = figure(1 + (len(panels) + 1) // 2, 2, height=2.4)
    shares = {"cpu_share": "machine", "own_cpu_share": "benchmark"}
    _draw_samples(axes[0, 0], telemetry, shares, "CPU", "%", 100)
    _draw_samples(axes[0, 1], telemetry, {"own_memory_gib": ""}, "Memory of the benchmark", "GiB")
    free = axes.flat[2:]
    for axis, (column, title, unit, factor) in zip(free, panels, strict=False):
        _draw_samples(axis, telemetry, {column: ""}, title, unit, factor)
    for axis in free[len(panels) :]:
        axis.set_visible(False)
    return fig


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
    for (name, label), (color, line) in zip(columns.items(), styles, strict=False):
        values = samples[name] * factor
        axis.plot(samples["time_s"], values, line, color=color, label=label)
    axis.set(xlabel="time, s", ylabel=unit)
    axis.set_ylim(bottom=0)
    axis.set_title(title, fontsize=10)
    if len(columns) > 1:
        legend_above(axis)


def machine_caption(telemetry: pd.DataFrame) -> str:
    """The sentence under ``machine_load``."""
    if telemetry.empty:
        return "The test was too short for a sample of the machine."
    mean = telemetry.mean()
    text = (
        f"The machine's cores were {mean['cpu_share']:.0%} busy on average, "
        f"{mean['own_cpu_share']:.0%} with this benchmark, which held "
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
    batch = np.geomspace(1, max(256, 4 * found.batch), 200)
    reading = batch / found.reading_ms(batch) * 1e3
    axis.plot(batch, reading, color=BLUE, linewidth=2, label="memory bandwidth")
    computing = found.batch / found.decode_computing_ms * 1e3
    axis.axhline(computing, color=ORANGE, linewidth=2, linestyle="--", label="matrix rate")
    axis.fill_between(batch, np.minimum(reading, computing), color=BLUE, alpha=0.12)
    # Tokens/s of the mean batch at the mean TPOT: the run's rate while it decodes.
    reached = found.batch / tpot_ms * 1e3
    axis.plot(found.batch, reached, "D", color="black", markersize=7, label="this run's decode")
    axis.set(xscale="log", yscale="log", xlabel="queries at once", ylabel="tokens/s")
    axis.set_title("Decode against the machine's measured limits", fontsize=10)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor="white", loc="lower right")
    return fig


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
