"""Interactive figures of several tests: a sweep's points, and runs over each other."""

import altair as alt
import numpy as np
import pandas as pd

from vllm_loadgen.analysis.words import visible
from vllm_loadgen.report.interactive import NARROW, SLIM, Drawn, called, source, tooltip
from vllm_loadgen.report.plots_compare import TITLES, WIDE_APART, medians
from vllm_loadgen.report.plots_sweep import tail_of
from vllm_loadgen.report.style import BLUE, GREEN, ORANGE
from vllm_loadgen.runs.compare import LATENCIES, Digest

COLORS = {"queries/s": BLUE, "queries at once": ORANGE}
UNITS = {"rate": "queries/s", "concurrency": "queries at once"}
LIMIT = {"color": GREEN, "strokeDash": [3, 3], "strokeWidth": 2}
SHOWN = {
    "test": "test", "offered": "offered", "unit": "unit", "verdict": "verdict",
    "samples_per_s": "completed, queries/s", "goodput_per_s": "within the limits, queries/s",
    "tokens_per_s": "system, tokens/s", "user_tokens_per_s": "one user, tokens/s",
    "ttft": "TTFT, ms", "tpot_mean_ms": "mean TPOT, ms", "queries": "queries",
}  # fmt: skip


def sweep(table: pd.DataFrame, limits_ms: dict[str, float]) -> Drawn:
    """A sweep's points, each with its test: latency, speed and goodput.

    Args:
        table, limits_ms: as in ``plots_sweep.sweep_curves``.
    """
    label = tail_of(table)
    plain = table.reset_index().rename(columns={f"ttft_{label}_ms": "ttft", "index": "test"})
    plain["unit"] = plain["kind"].map(UNITS)
    kept = [name for name in SHOWN if name in plain]
    points = plain[kept].round({"ttft": 1, "tpot_mean_ms": 2, "tokens_per_s": 2,
                                "user_tokens_per_s": 2, "samples_per_s": 4,
                                "goodput_per_s": 4, "offered": 4})  # fmt: skip
    data = source("sweep", points)
    named = "maximum" if label == "max" else label
    shown = tooltip(**{name: SHOWN[name] for name in kept} | {"ttft": f"{named} TTFT, ms"})

    def curves(across: str, up: str, axes: tuple[str, str], units: list[str]) -> alt.LayerChart:
        layers = []
        for unit in units:
            base = alt.Chart(data, width=NARROW, height=220).transform_filter(
                alt.datum.unit == unit
            )
            base = called(base, unit, {name: COLORS[name] for name in units}).encode(
                x=alt.X(f"{across}:Q", title=axes[0], scale=alt.Scale(zero=False, padding=12)),
                y=alt.Y(f"{up}:Q", title=axes[1]),
                tooltip=shown,
            )
            line = base.mark_line(strokeDash=[1, 0] if unit == "queries/s" else [6, 3])
            layers += [line.encode(order="offered:Q"), base.mark_point(size=70, filled=True)]
        return alt.layer(*layers)

    units = [name for name in COLORS if name in set(points["unit"])]
    # Of queries that are all there at the start the TTFT is the length of the test.
    of_rates = units[:1]
    limit = _rule(limits_ms["ttft"], "y") if "queries/s" in units else []
    least = _rule(1e3 / limits_ms["tpot"] if limits_ms["tpot"] else 0.0, "x")
    latency = curves("samples_per_s", "ttft", ("completed, queries/s", f"{named} TTFT, ms"),
                     of_rates)  # fmt: skip
    speed = curves("user_tokens_per_s", "tokens_per_s",
                   ("tokens/s that one user sees", "tokens/s of the system"), units)  # fmt: skip
    panels = [
        alt.layer(latency, *limit).properties(title="Latency against throughput"),
        alt.layer(speed, *least).properties(title="The system's speed against a user's"),
    ]
    if "queries/s" in units:
        kept_limits = curves("offered", "goodput_per_s",
                             ("offered, queries/s", "within the limits, queries/s"),
                             of_rates)  # fmt: skip
        panels.append(kept_limits.properties(title="Goodput against the rate that was offered"))
    chart = alt.concat(*panels, columns=2).resolve_scale(color="independent")
    return chart, {"sweep": points}


def _rule(at: float, axis: str) -> list[alt.Chart]:
    """A limit as a line; nothing without one."""
    if not at:
        return []
    data = alt.InlineData([{"at": at, "says": f"limit {at:,.4g}"}])
    line = alt.Chart(data).mark_rule(**LIMIT)
    return [line.encode(**{axis: "at:Q"}, tooltip=tooltip(says="line"))]


def distributions(runs: dict[str, Digest]) -> Drawn:
    """The share of queries within each latency, a line a run.

    Args:
        runs: of ``plots_compare.overlaid``.
    """
    rows = [
        pd.DataFrame({"run": visible(name), "of": latency, "share_percent": _shares(values),
                      "ms": np.round(values, 2)})
        for name, run in runs.items() for latency in LATENCIES
        if (values := run.quantiles[latency])
    ]  # fmt: skip
    table = pd.concat(rows, ignore_index=True)
    panels = []
    for latency in LATENCIES:
        middle = medians(runs, latency)
        far = 0 < WIDE_APART * min(middle) < max(middle)
        scale = alt.Scale(type="log" if far else "linear", zero=not far, nice=False)
        panels.append(
            alt.Chart(source("runs", table), width=SLIM, height=220, title=TITLES[latency])
            .transform_filter(alt.datum.of == latency)
            .mark_line(interpolate="step-after", point=alt.OverlayMarkDef(opacity=0, size=60))
            .encode(
                x=alt.X("ms:Q", title="ms", scale=scale),
                y=alt.Y("share_percent:Q", title="% of the queries within"),
                color=alt.Color("run:N", sort=list(map(visible, runs))),
                strokeDash=alt.StrokeDash("run:N", sort=list(map(visible, runs))),
                tooltip=tooltip(run="run", ms="ms", share_percent="% within"),
            )
        )  # fmt: skip
    return alt.concat(*panels, columns=3), {"runs": table}


def _shares(values: tuple[float, ...]) -> np.ndarray:
    return np.round(np.arange(1, len(values) + 1) / len(values) * 100, 2)
