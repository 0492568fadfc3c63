"""Findings from the engine's steps and from the machine's telemetry."""

import pandas as pd

from loadgen_study.analysis.anatomy import Shares
from loadgen_study.findings.finding import Found, finding
from loadgen_study.results.run import Run
from loadgen_study.words import count, say_ms

# A cache this empty was no reason to wait.
SMALL_CACHE_SHARE = 0.5
# Of all cores: below it, other programs hardly move a result.
NEIGHBOUR_SHARE = 0.05
THROTTLED_SHARE = 0.1
# Of one core: a thread as busy as that keeps what comes waiting.
CLIENT_CORES = 0.8


@finding("preemptions", "problem", "The KV cache was too small", needs=("steps",))
def _preempted(steps: pd.DataFrame) -> Found:
    if not (lost := int(steps["preempted"].sum())):
        return None
    return (
        f"{count(lost, 'time')} a query was evicted and had to be computed anew; it was "
        f"{steps['kv_cache_share'].max():.0%} full at most",
        "Give it more memory (gpu_memory_utilization, cpu_kv_cache_gib), or lower max_num_seqs.",
    )


@finding("free-cache", "note", "Queries waited while the KV cache had room", needs=("steps",))
def _cache_use(steps: pd.DataFrame) -> Found:
    most, waiting = steps["kv_cache_share"].max(), int(steps["waiting"].max())
    if most >= SMALL_CACHE_SHARE or not waiting:
        return None
    return (
        f"it was {most:.1%} full at most, and up to {count(waiting, 'query')} waited for a place "
        f"in the batch, which held {int(steps['running'].max())} at most",
        "Raise max_num_seqs or max_num_batched_tokens: memory is there.",
    )


@finding("noisy-neighbour", "problem", "A noisy neighbour", needs=("run", "telemetry"), doubts=True)
def _neighbour(run: Run, telemetry: pd.DataFrame) -> Found:
    server_here = run.params.here and not run.params.engine_traits.started_here
    known = telemetry if server_here else telemetry.assign(server_cpu_share=0.0)
    # Earlier runs did not look for the server's process.
    if "server_cpu_share" not in known or (known := known.dropna(subset="server_cpu_share")).empty:
        return None
    other = float((known["cpu_share"] - known["own_cpu_share"]).clip(lower=0).mean())
    stolen = float(known["steal_share"].mean())
    if other + stolen < NEIGHBOUR_SHARE:
        return None
    but, unless = "", ""
    if server_here:
        but = " than this benchmark and the process that listens on the server's port"
        unless = ", unless it is part of the server"
    return (
        f"other programs{but} used {other:.0%} of the cores on average and the hypervisor took "
        f"{stolen:.0%}",
        f"Stop what else runs on this machine{unless}, and run again.",
    )


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


@finding(
    "throttled-gpu", "problem", "The GPU's clocks were held down", needs=("telemetry",), doubts=True
)
def _throttled(telemetry: pd.DataFrame) -> Found:
    share = float(telemetry.get("gpu_throttled", pd.Series([0.0])).mean())
    if share < THROTTLED_SHARE:
        return None
    units = {"gpu_temperature_c": "{:.0f} degrees C", "gpu_power_w": "{:.0f} W"}
    told = [unit.format(telemetry[name].max()) for name, unit in units.items() if name in telemetry]
    return (
        f"in {share:.0%} of the samples" + (f", at up to {' and '.join(told)}" if told else ""),
        "See to its cooling and power limit; another run on a cool GPU may be faster.",
    )


@finding("slow-client", "problem", "The client is the limit", needs=("run", "telemetry"))
def _client(run: Run, telemetry: pd.DataFrame) -> Found:
    """Whether the HTTP client, and no server, set the pace: its queries share one thread."""
    # Where the project starts the server, that is a front end too.
    if run.params.engine_traits.started_here or "front_cpu_cores" not in telemetry:
        return None
    if (cores := float(telemetry["front_cpu_cores"].mean())) < CLIENT_CORES:
        return None
    return (
        f"the client used {cores:.2f} of a core on average, and has one for all its queries: "
        f"its own delay is in the latencies",
        "Ask at a lower rate, or from a faster core. The server may do more than this test shows.",
    )
