"""Interactive figures of several tests: a sweep's points, and runs over each other."""

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.report.display import called as called_column
from loadgen_study.report.interactive import NARROW, SLIM, WIDE, Drawn, called, source, tooltip
from loadgen_study.report.plots_compare import TITLES, WIDE_APART, medians
from loadgen_study.report.plots_sweep import AT_ONCE, SERIES, series_of, tail_of
from loadgen_study.report.style import BLUE, GREEN, ORANGE
from loadgen_study.runs.compare import LATENCIES, Digest
from loadgen_study.words import visible

LIMIT = {"color": GREEN, "strokeDash": [3, 3], "strokeWidth": 2}
STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z"
MARKS = {"sweep": "circle", AT_ONCE: "square", "search": "diamond", "main test": STAR}
UNITS = {"rate": "queries/s", "concurrency": "queries at once"}
SHOWN = {
    "test": "test", "series": "part of", "offered": "offered", "unit": "unit",
    "verdict": "verdict",
    "samples_per_s": "completed, queries/s", "goodput_per_s": "within the limits, queries/s",
    "tokens_per_s": "system, tokens/s", "user_tokens_per_s": "one user, tokens/s",
    "ttft": "TTFT, ms", "tpot_mean_ms": "mean TPOT, ms", "queries": "queries",
}  # fmt: skip


def sweep(table: pd.DataFrame, limits_ms: dict[str, float]) -> Drawn:
    """A sweep's points and the run's others, each with its test: latency, speed and goodput.

    Args:
        table, limits_ms: as in ``plots_sweep.sweep_curves``.
    """
    label = tail_of(table)
    points = _points(table, f"ttft_{label}_ms")
    named = f"{'maximum' if label == 'max' else label} TTFT, ms"
    drawn = [name for name in SERIES if name in set(points["series"])]
    rated = [name for name in drawn if name != AT_ONCE]
    # Of queries that are all there at the start the TTFT is the length of the test.
    latency = _curves(points, "samples_per_s", "ttft", ("completed, queries/s", named),
                      rated or drawn)  # fmt: skip
    speed = _curves(points, "user_tokens_per_s", "tokens_per_s",
                    ("tokens/s that one user sees", "tokens/s of the system"), drawn)  # fmt: skip
    limit = _rule(limits_ms["ttft"], "y") if rated else []
    least = _rule(1e3 / limits_ms["tpot"] if limits_ms["tpot"] else 0.0, "x")
    panels = [
        alt.layer(*latency, *limit).properties(title="Latency against throughput"),
        alt.layer(*speed, *least).properties(title="The system's speed against a user's"),
    ]
    if rated:
        kept = _curves(points, "offered", "goodput_per_s",
                       ("offered, queries/s", "within the limits, queries/s"), rated)  # fmt: skip
        title = "Goodput against the rate that was offered"
        panels.append(alt.layer(*kept).properties(title=title))
    return alt.concat(*panels, columns=2).resolve_scale(color="independent"), {"sweep": points}


def _points(table: pd.DataFrame, ttft: str) -> pd.DataFrame:
    """The columns of ``SHOWN`` that are known."""
    plain = table.assign(series=series_of(table), unit=table["kind"].map(UNITS))
    plain = plain.reset_index().rename(columns={ttft: "ttft", "index": "test"})
    return plain[[name for name in SHOWN if name in plain]].round(
        {"ttft": 1, "tpot_mean_ms": 2, "tokens_per_s": 2, "user_tokens_per_s": 2,
         "samples_per_s": 4, "goodput_per_s": 4, "offered": 4}
    )  # fmt: skip


def _curves(
    points: pd.DataFrame, across: str, up: str, axes: tuple[str, str], drawn: list[str]
) -> list[alt.Chart]:
    """The marks of each series, and a sweep's lines beneath them."""
    colors = {name: SERIES[name][0] for name in drawn}
    layers = []
    for name in drawn:
        base = alt.Chart(source("sweep", points), width=NARROW, height=220).transform_filter(
            alt.datum.series == name
        )
        base = called(base, name, colors).encode(
            x=alt.X(f"{across}:Q", title=axes[0], scale=alt.Scale(zero=False, padding=12)),
            y=alt.Y(f"{up}:Q", title=axes[1]),
            tooltip=tooltip(**{known: SHOWN[known] for known in points}),
        )
        _, _, line, size = SERIES[name]
        if line:
            dash = [1, 0] if line == "-" else [6, 3]
            layers.append(base.mark_line(strokeDash=dash).encode(order="offered:Q"))
        layers.append(base.mark_point(shape=MARKS[name], size=14 * size, filled=True, opacity=0.9))
    return layers


def _rule(at: float, axis: str) -> list[alt.Chart]:
    """A limit as a line; nothing without one."""
    if not at:
        return []
    data = alt.InlineData([{"at": at, "says": f"limit {at:,.4g}"}])
    line = alt.Chart(data).mark_rule(**LIMIT)
    return [line.encode(**{axis: "at:Q"}, tooltip=tooltip(says="line"))]


def against_limits(table: pd.DataFrame) -> Drawn:
    """Decode tokens/s of each test of a sweep, and the limit at its batch.

    Args:
        table: of ``sweep_limits.limits_table``.
    """
    points = table.reset_index().round(
        {"served_at_once": 2, "decode_tokens_per_s": 1, "limit_tokens_per_s": 1, "limit_share": 3}
    )
    log, colors = alt.Scale(type="log", nice=False), {"limit": ORANGE, "decode": BLUE}
    base = alt.Chart(source("limits", points), width=WIDE, height=260).encode(
        x=alt.X("served_at_once:Q", title="queries served at once", scale=log),
        tooltip=tooltip(test="test", **{name: str(called_column(name)) for name in table}),
    )
    limit = called(base.mark_line(strokeDash=[6, 3]), "limit", colors)
    decode = called(base.mark_line(point=alt.OverlayMarkDef(size=60)), "decode", colors)
    layers = [
        limit.encode(y=alt.Y("limit_tokens_per_s:Q", title="tokens/s", scale=log)),
        decode.encode(y=alt.Y("decode_tokens_per_s:Q", scale=log)),
    ]
    return alt.layer(*layers).properties(title="The sweep against the machine's limit"), {
        "limits": points
    }


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
