"""Findings from the engine's steps and from the machine's telemetry."""

import pandas as pd

from loadgen_study.analysis.anatomy import Shares
from loadgen_study.analysis.interference import LEAST_SHARE
from loadgen_study.findings.finding import Finding, Found, finding
from loadgen_study.findings.overload import full_steps
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.words import count, percent, say_ms
from vllm_loadgen.records.engine import EngineFacts

MOST_STRETCHES = 3  # of interference, in a sentence
THROTTLED_SHARE = 0.1
# Of one core: so busy a thread delays queries.
CLIENT_CORES = 0.8


@finding("preemptions", "problem", "KV cache too small", needs=("test", "steps"))
def _preempted(test: Test, steps: pd.DataFrame) -> Found:
    if not (lost := int(steps["preempted"].sum())):
        return None
    return (
        f"{count(lost, 'eviction')}, each computed again; the cache was "
        f"{percent(steps['kv_cache_share'].max())} full at most",
        "Give it more memory (gpu_memory_utilization, cpu_kv_cache_gib)"
        + ("." if test.result.scenario_traits.one_by_one else ", or lower max_num_seqs."),
    )


@finding("free-cache", "note", "Full batch, free KV cache", needs=("test", "engine"))
def _cache_use(test: Test, engine: EngineFacts) -> Found:
    if (full := full_steps(test, engine)).empty:
        return None
    return (
        f"up to {count(int(full['waiting'].max()), 'query')} waited while the batch was at "
        f"max_num_seqs = {engine.max_num_seqs}; the KV cache was "
        f"{percent(full['kv_cache_share'].max(), 1)} full at most",
        f"Raise max_num_seqs above {engine.max_num_seqs}.",
    )


@finding("interference", needs=("queries", "telemetry"))
def _interference(test: Test, _: pd.DataFrame) -> Finding | None:
    """Other programs for a time, or often enough for a high mean."""
    disturbed, mean = test.disturbed, float(test.others["share"].mean())
    if disturbed.empty and not mean > LEAST_SHARE:
        return None
    worst = disturbed.assign(work=disturbed["share"] * (disturbed["end_s"] - disturbed["begin_s"]))
    longest = worst.nlargest(MOST_STRETCHES, "work").sort_values("begin_s")
    parts = [
        f"{percent(one.share)} of the cores from {one.begin_s:.0f} to {one.end_s:.0f} s"
        for one in longest.itertuples()
    ]
    if more := len(disturbed) - len(longest):
        parts.append(f"and {count(more, 'time')} more")
    parts.append(f"{percent(mean)} on average over the test")
    met, total = int(test.disturbed_queries.sum()), len(test.latencies)
    if met:
        slowest = ", the slowest among them" if disturbed["slowest"].any() else ""
        parts.append(f"{met} of {count(total, 'query')} ran meanwhile{slowest}")
    server = test.params.here and not test.params.engine_traits.started_here
    unless = " that are no part of the server" if server else ""
    return Finding(
        "problem",
        "Interference from other programs" + _when(disturbed),
        "; ".join(parts),
        f"Stop other programs{unless} on this machine, and run again.",
        doubts=True,
    )


def _when(disturbed: pd.DataFrame) -> str:
    if disturbed.empty:
        return ""
    if len(disturbed) > 1:
        return f" ({len(disturbed)} times)"
    return f" ({disturbed['begin_s'].iloc[0]:.0f} to {disturbed['end_s'].iloc[0]:.0f} s)"


@finding("limit-too-low", "problem", "Machine limit measured too low", needs=("shares",))
def _limit_too_low(shares: Shares) -> Found:
    works = {"decode": shares.decode, "prefill": shares.prefill}
    faster = [
        f"{name} took {say_ms(work.took_ms)} on average, the measured limit allows "
        f"{say_ms(work.least_ms)} at best"
        for name, work in works.items()
        if work.too_low
    ]
    if not faster:
        return None
    return "; ".join(faster), "Measure the limits again, on an idle machine (setup.ipynb)."


@finding("throttled-gpu", "problem", "GPU clocks throttled", needs=("telemetry",), doubts=True)
def _throttled(telemetry: pd.DataFrame) -> Found:
    share = float(telemetry.get("gpu_throttled", pd.Series([0.0])).mean())
    if share < THROTTLED_SHARE:
        return None
    units = {"gpu_temperature_c": "{:.0f} degrees C", "gpu_power_w": "{:.0f} W"}
    parts = [
        unit.format(telemetry[name].max()) for name, unit in units.items() if name in telemetry
    ]
    return (
        f"{percent(share)} of the samples" + (f", at up to {' and '.join(parts)}" if parts else ""),
        "Check its cooling and power limit, and run again.",
    )


@finding("slow-client", "problem", "HTTP client is the bottleneck", needs=("run", "telemetry"))
def _client(run: Run, telemetry: pd.DataFrame) -> Found:
    """Whether the HTTP client, not the server, limited the rate: its queries share one thread."""
    # Where the project starts the server, that is a front end too.
    if run.params.engine_traits.started_here or "front_cpu_cores" not in telemetry:
        return None
    if (cores := float(telemetry["front_cpu_cores"].mean())) < CLIENT_CORES:
        return None
    lower = "Lower target_qps, or use" if run.params.scenario_traits.scheduled else "Use"
    return (
        f"its single thread used {cores:.2f} of a core on average; the latencies include its delay",
        f"{lower} a faster core for the client: the server may do more than this test shows.",
    )
