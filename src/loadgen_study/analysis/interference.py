"""When other programs used the machine during a test, and which queries they disturbed."""

import numpy as np
import pandas as pd

# Of all cores, and for how long: less hardly moves a result.
LEAST_SHARE, LEAST_S = 0.05, 2.0


def others(telemetry: pd.DataFrame, server_here: bool = False) -> pd.DataFrame:
    """What other programs and the hypervisor used of the machine, sample by sample.

    Args:
        telemetry: see ``vllm_loadgen.harness.telemetry``.
        server_here: whether a server that the test did not start runs on this machine. Its process
            is not another program then; samples that lack it are left out.

    Returns:
        (samples,) begin_s and end_s from the test's start, share of all cores, 0 to 1.
    """
    columns = ["begin_s", "end_s", "share"]
    # Earlier runs did not measure the server.
    if telemetry.empty or (server_here and "server_cpu_share" not in telemetry):
        return pd.DataFrame(columns=columns, dtype=float)
    other = (telemetry["cpu_share"] - telemetry["own_cpu_share"]).clip(lower=0)
    end_s = telemetry["time_s"]
    found = pd.DataFrame(
        {
            "begin_s": end_s.shift(fill_value=0.0),
            "end_s": end_s,
            "share": other + telemetry["steal_share"],
        }
    )
    return found.dropna().reset_index(drop=True)


def stretches(samples: pd.DataFrame, frame: pd.DataFrame, at_once: bool) -> pd.DataFrame:
    """Times in which other programs used more than ``LEAST_SHARE`` for ``LEAST_S`` or longer.

    Args:
        samples: of ``others``.
        at_once: whether all queries were due at the start: see ``during``.

    Returns:
        (stretches,) begin_s, end_s, share (of all cores, mean), queries (that it disturbed; those
        without one are left out), slowest (whether the query of the longest latency is among them).
    """
    busy = samples["share"] > LEAST_SHARE
    rows = []
    for _, of in samples[busy].groupby((~busy).cumsum()[busy]):
        begin_s, end_s = float(of["begin_s"].min()), float(of["end_s"].max())
        met = during(frame, begin_s, end_s, at_once)
        if end_s - begin_s < LEAST_S or not met.any():
            continue
        share = np.average(of["share"], weights=of["end_s"] - of["begin_s"])
        latency_ms = frame["latency_ms"]
        slowest = bool(latency_ms[met].max() == latency_ms.max())
        rows.append((begin_s, end_s, float(share), int(met.sum()), slowest))
    kinds = {"begin_s": float, "end_s": float, "share": float, "queries": int, "slowest": bool}
    return pd.DataFrame(rows, columns=[*kinds]).astype(kinds)


def during(frame: pd.DataFrame, begin_s: float, end_s: float, at_once: bool) -> "pd.Series[bool]":
    """Which queries a time overlaps, from issue to answer, (queries,).

    Queries issued at once wait for most of the test, so they count from their start in the engine,
    where that is known.
    """
    begun = frame["started_s"].fillna(frame["issued_s"]) if at_once else frame["issued_s"]
    return (begun < end_s) & (frame["done_s"].fillna(np.inf) > begin_s)
