"""Figures of several tests: a sweep's points, and runs over each other."""

import statistics
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.percentiles import PERCENTILES
from loadgen_study.prose import render
from loadgen_study.report.display import column_title
from loadgen_study.report.figures.base import (
    BLUE,
    GREEN,
    INSET,
    LOG,
    NARROW,
    ORANGE,
    PINK,
    RED,
    ROUND,
    SLIM,
    WIDE,
    Figure,
    in_legend,
    lines_at,
    source,
    tooltip,
)
from loadgen_study.report.figures.queries import FAR_LIMIT, NAMES, short
from loadgen_study.runs.compare import LATENCIES, Digest, heading, not_compared, obstacle
from loadgen_study.words import per_s, visible

# What the legend names: colour, dashes of its line, mark and size. Only a sweep is a curve.
STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z"
SERIES = {"sweep": (BLUE, [1, 0], "circle", 84),
          "search": (PINK, None, "diamond", 84), "main test": (RED, None, STAR, 182)}  # fmt: skip
# Medians further apart than this are drawn over a logarithm.
WIDE_APART = 10
SHOWN = {
    "test": "test", "part": "part of", "offered": "target, queries/s", "verdict": "verdict",
    "samples_per_s": "completed, queries/s", "goodput_per_s": "within the limits, queries/s",
    "tokens_per_s": "system, tokens/s", "user_tokens_per_s": "one user, tokens/s",
    "ttft": "TTFT, ms", "tpot_mean_ms": "mean TPOT, ms", "queries": "queries",
}  # fmt: skip


def sweep(table: pd.DataFrame, limits_ms: dict[str, float], share: float | None) -> Figure:
    """A sweep's points and the run's others: latency, the system's speed by a user's, goodput.

    Args:
        table: of ``runs.sweep.points_table``.
        limits_ms: {"ttft": ..., "tpot": ...}; 0 where there is none.
        share: by which these limits are judged, 0 to 1; None of a run without a main test.
    """
    label = tail_of(table, share)
    points = _points(table, f"ttft_{label}_ms")
    named = f"{'maximum' if label == 'max' else label} TTFT, ms"
    drawn = [name for name in SERIES if name in set(points["part"])]
    latency = _curves(points, "samples_per_s", "ttft", ("completed, queries/s", named), drawn)
    speed = _curves(points, "user_tokens_per_s", "tokens_per_s",
                    ("one user, tokens/s", "system, tokens/s"), drawn)  # fmt: skip
    held, says_ttft = _held("y", limits_ms["ttft"], points["ttft"], "ms")
    least = 1e3 / limits_ms["tpot"] if limits_ms["tpot"] else 0.0
    fast, says_tpot = _held("x", least, points["user_tokens_per_s"], "tokens/s")
    panels = [
        alt.layer(*held, *latency).properties(
            title=alt.Title("Latency by throughput", subtitle=says_ttft)),
        alt.layer(*fast, *speed).properties(
            title=alt.Title("System's speed by a user's", subtitle=says_tpot)),
    ]  # fmt: skip
    kept = _curves(points, "offered", "goodput_per_s",
                   ("target, queries/s", "within the limits, queries/s"), drawn)  # fmt: skip
    panels.append(alt.layer(*kept).properties(title="Goodput by target rate"))
    chart = alt.concat(*panels, columns=2).resolve_scale(color="independent")
    return Figure(chart, {"sweep": points})


def _held(
    axis: str, at: float, values: "pd.Series[float]", unit: str
) -> tuple[list[alt.Chart], str]:
    """The region that keeps a limit, below it on y, to its right on x, and what it is.

    A limit far from the values would squeeze them: then all of the panel is the region.
    """
    if not at:
        return [], ""
    far = at > FAR_LIMIT * values.max() if axis == "y" else at < values.min() / FAR_LIMIT
    line = {"at": at, "label": "limit", "says": f"limit {at:,.4g} {unit}"}
    area = alt.Chart(alt.InlineData([line])).mark_rect(color=GREEN, opacity=0.12)
    end = {"y2": alt.value("height")} if axis == "y" else {"x2": alt.value("width")}
    begin = {axis: alt.value(0) if far else "at:Q"}
    lines = [] if far else lines_at(axis, [line], GREEN)
    return [area.encode(**begin, **end), *lines], f"Shaded: within the {line['says']}."


def tail_of(table: pd.DataFrame, share: float | None) -> str:
    """The TTFT percentile to draw: the judged one, the highest that all tests have, or "max"."""
    label = f"p{share * 100:g}" if share is not None else ""
    if table.get(f"ttft_{label}_ms", pd.Series(dtype=float)).notna().any():
        return label
    complete = table.dropna(axis="columns")
    every = [name for name in PERCENTILES if f"ttft_{name}_ms" in complete]
    return every[-1] if every else "max"


def _points(table: pd.DataFrame, ttft: str) -> pd.DataFrame:
    """The columns of ``SHOWN`` that are known."""
    plain = table.reset_index().rename(columns={ttft: "ttft", "index": "test"})
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
            alt.datum.part == name
        )
        base = in_legend(base, name, colors).encode(
            x=alt.X(f"{across}:Q", title=axes[0], scale=INSET),
            y=alt.Y(f"{up}:Q", title=axes[1]),
            tooltip=tooltip(**{known: SHOWN[known] for known in points}),
        )
        _, dash, mark, size = SERIES[name]
        if dash:
            layers.append(base.mark_line(strokeDash=dash).encode(order="offered:Q"))
        layers.append(base.mark_point(shape=mark, size=size, filled=True, opacity=0.9))
    return layers


def against_limits(table: pd.DataFrame) -> Figure:
    """Decode tokens/s of each test in ``sections.sweep.limits_table``, and its limit."""
    points = table.reset_index().round(
        {"served_at_once": 2, "decode_tokens_per_s": 1, "limit_tokens_per_s": 1, "limit_share": 3}
    )
    colors = {"limit": ORANGE, "decode": BLUE}
    base = alt.Chart(source("limits", points), width=WIDE, height=260).encode(
        x=alt.X("served_at_once:Q", title="served at once, queries", scale=LOG, axis=ROUND),
        tooltip=tooltip(test="test", **{name: str(column_title(name)) for name in table}),
    )
    limit = in_legend(base.mark_line(strokeDash=[6, 3]), "limit", colors)
    decode = in_legend(base.mark_line(point=alt.OverlayMarkDef(size=60)), "decode", colors)
    up = alt.Y("limit_tokens_per_s:Q", title="decode, tokens/s", scale=LOG, axis=ROUND)
    layers = [limit.encode(y=up), decode.encode(y="decode_tokens_per_s:Q")]
    chart = alt.layer(*layers).properties(title="Decode against the machine's limit")
    return Figure(chart, {"limits": points})


def overlaid(runs: Sequence[Digest]) -> dict[str, Digest]:
    """The runs, by name, that record distributions and compare with the first; empty below two."""
    found = {
        heading(runs, place): run
        for place, run in enumerate(runs)
        if all(run.quantiles.get(name) for name in LATENCIES) and not _apart(runs[0], run)
    }
    return found if len(found) > 1 else {}


def _apart(first: Digest, other: Digest) -> str:
    """Why two runs are not drawn over each other; of another tool's result, any latency counts."""
    foreign = first.of_other_tool or other.of_other_tool
    return not_compared(first, other, "ttft_ms") if foreign else obstacle(first, other)


def distributions(runs: dict[str, Digest]) -> Figure:
    """The share of queries within each latency, a line for each run of ``overlaid``."""
    rows = [
        pd.DataFrame({"run": visible(name), "of": latency, "share_percent": _shares(values),
                      "ms": np.round(values, 2)})
        for name, run in runs.items() for latency in LATENCIES
        if (values := run.quantiles[latency])
    ]  # fmt: skip
    table = pd.concat(rows, ignore_index=True)
    panels = []
    for latency in LATENCIES:
        name, middle = latency.removesuffix("_ms"), medians(runs, latency)
        far = 0 < WIDE_APART * min(middle) < max(middle)
        scale = alt.Scale(type="log" if far else "linear", zero=not far, nice=False)
        panels.append(
            alt.Chart(source("runs", table), width=SLIM, height=220, title=NAMES[name])
            .transform_filter(alt.datum.of == latency)
            .mark_line(interpolate="step-after", point=alt.OverlayMarkDef(opacity=0, size=60))
            .encode(
                x=alt.X("ms:Q", title=f"{short(name)}, ms", scale=scale),
                y=alt.Y("share_percent:Q", title="queries within, %"),
                color=alt.Color("run:N", sort=list(map(visible, runs))),
                strokeDash=alt.StrokeDash("run:N", sort=list(map(visible, runs))),
                tooltip=tooltip(run="run", ms="ms", share_percent="% within"),
            )
        )  # fmt: skip
    return Figure(alt.concat(*panels, columns=3), {"runs": table})


def medians(runs: dict[str, Digest], latency: str) -> list[float]:
    """The median of each run, ms."""
    return [statistics.median(run.quantiles[latency]) for run in runs.values()]


def _shares(values: tuple[float, ...]) -> np.ndarray:
    return np.round(np.arange(1, len(values) + 1) / len(values) * 100, 2)


# Captions ---------------------------------------------------------------------------------------
def sweep_caption(table: pd.DataFrame, limits_ms: dict[str, float]) -> str:
    """The best of all tests in a sweep's chart, the main test and the search's probes included.

    A rate that breaks the limits may complete more queries within them than a lower rate that keeps
    them; in short tests a higher rate may complete fewer.
    """
    held = table[(table["verdict"] == "VALID") | (table["goodput_per_s"] >= table["samples_per_s"])]
    kept = held if any(limits_ms.values()) else held[:0]
    return render(
        "report/figures/sweep",
        fastest=_best(table, "tokens_per_s"),
        best=_best(table, "goodput_per_s"),
        held=_best(kept, "offered"),
    )


def _best(table: pd.DataFrame, column: str) -> dict[str, object]:
    """The test with the most of a column, and its target; empty without tests."""
    if table.empty:
        return {}
    point = table.loc[table[column].idxmax()]
    return {**point.to_dict(), "target": _target(point)}


def _target(point: pd.Series) -> str:
    """A test's target: "1 query/s", "1 query/s (main test)"."""
    part = "" if point["part"] == "sweep" else f" ({point['part']})"
    return per_s(point["offered"], 4) + part


def distributions_caption(runs: dict[str, Digest]) -> str:
    """The median TTFT of each run."""
    return render(
        "report/figures/distributions",
        medians=dict(zip(runs, medians(runs, "ttft_ms"), strict=True)),
        repeated=any(run.runs > 1 for run in runs.values()),
    )
