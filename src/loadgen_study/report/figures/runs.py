"""Figures of several tests: a sweep's points, and runs over each other."""

import statistics
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.percentiles import PERCENTILES, lacking
from loadgen_study.report.display import called as called_column
from loadgen_study.report.figures.base import (
    BLUE,
    GREEN,
    NARROW,
    ORANGE,
    PINK,
    RED,
    SLIM,
    WIDE,
    Figure,
    called,
    source,
    tooltip,
)
from loadgen_study.runs.compare import LATENCIES, Digest, heading, obstacle
from loadgen_study.words import count, per_s, say_ms, visible

# What the legend names: colour, dashes of its line, mark and size. Only a sweep is a curve.
AT_ONCE = "sweep, queries at once"
LIMIT = {"color": GREEN, "strokeDash": [3, 3], "strokeWidth": 2}
STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z"
SERIES = {"sweep": (BLUE, [1, 0], "circle", 84), AT_ONCE: (ORANGE, [6, 3], "square", 84),
          "search": (PINK, None, "diamond", 84), "main test": (RED, None, STAR, 182)}  # fmt: skip
TITLES = {"ttft_ms": "Time to first token", "tpot_ms": "Time per output token",
          "latency_ms": "Latency"}  # fmt: skip
# Medians further apart than this are drawn over a logarithm.
WIDE_APART = 10
UNITS = {"rate": "queries/s", "concurrency": "queries at once"}
SHOWN = {
    "test": "test", "series": "part of", "offered": "offered", "unit": "unit",
    "verdict": "verdict",
    "samples_per_s": "completed, queries/s", "goodput_per_s": "within the limits, queries/s",
    "tokens_per_s": "system, tokens/s", "user_tokens_per_s": "one user, tokens/s",
    "ttft": "TTFT, ms", "tpot_mean_ms": "mean TPOT, ms", "queries": "queries",
}  # fmt: skip


def sweep(table: pd.DataFrame, limits_ms: dict[str, float]) -> Figure:
    """A sweep's points and the run's others, each with its test: latency, speed and goodput.

    Args:
        table: of ``runs.sweep.points_table``.
        limits_ms: {"ttft": ..., "tpot": ...}; 0 where there is none.
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
    chart = alt.concat(*panels, columns=2).resolve_scale(color="independent")
    return Figure(chart, {"sweep": points})


def series_of(table: pd.DataFrame) -> "pd.Series[str]":
    """Which of ``SERIES`` each test of a ``points_table`` belongs to."""
    return table["part"].where(table["kind"] == "rate", AT_ONCE)


def tail_of(table: pd.DataFrame) -> str:
    """The highest percentile of TTFT that every test has queries for: "p99"; "max" without one."""
    for label in reversed(PERCENTILES):
        if f"ttft_{label}_ms" in table and table[f"ttft_{label}_ms"].notna().all():
            return label
    return "max"


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
        _, dash, mark, size = SERIES[name]
        if dash:
            layers.append(base.mark_line(strokeDash=dash).encode(order="offered:Q"))
        layers.append(base.mark_point(shape=mark, size=size, filled=True, opacity=0.9))
    return layers


def _rule(at: float, axis: str) -> list[alt.Chart]:
    """A limit as a line; nothing without one."""
    if not at:
        return []
    data = alt.InlineData([{"at": at, "says": f"limit {at:,.4g}"}])
    line = alt.Chart(data).mark_rule(**LIMIT)
    return [line.encode(**{axis: "at:Q"}, tooltip=tooltip(says="line"))]


def against_limits(table: pd.DataFrame) -> Figure:
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
    chart = alt.layer(*layers).properties(title="The sweep against the machine's limit")
    return Figure(chart, {"limits": points})


def overlaid(runs: Sequence[Digest]) -> dict[str, Digest]:
    """The runs that may be drawn over each other, by what they are called: those that record their
    distributions and may be compared with the first; empty below two."""
    found = {
        heading(runs, place): run
        for place, run in enumerate(runs)
        if all(run.quantiles.get(name) for name in LATENCIES) and not obstacle(runs[0], run)
    }
    return found if len(found) > 1 else {}


def distributions(runs: dict[str, Digest]) -> Figure:
    """The share of queries within each latency, a line a run.

    Args:
        runs: of ``overlaid``.
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
    return Figure(alt.concat(*panels, columns=3), {"runs": table})


def medians(runs: dict[str, Digest], latency: str) -> list[float]:
    """The median of each run, ms."""
    return [statistics.median(run.quantiles[latency]) for run in runs.values()]


def _shares(values: tuple[float, ...]) -> np.ndarray:
    return np.round(np.arange(1, len(values) + 1) / len(values) * 100, 2)


# Captions ---------------------------------------------------------------------------------------
def sweep_caption(table: pd.DataFrame, limits_ms: dict[str, float]) -> str:
    """The sentence under ``sweep_curves``: the best of all tests in it, whatever they were for."""
    fastest = table.loc[table["tokens_per_s"].idxmax()]
    text = (
        f"The most tokens/s, {fastest['tokens_per_s']:,.0f}, came with {_offer(fastest)}, where "
        f"a user sees {fastest['user_tokens_per_s']:.1f} tokens/s"
    )
    if fastest["kind"] == "rate":
        text += f" and TTFT has {_ttft(fastest)}"
    rates = table[table["kind"] == "rate"]
    if rates.empty:
        return f"{text}."
    best = rates.loc[rates["goodput_per_s"].idxmax()]
    text += (
        f"; of the rates goodput is highest, {per_s(best['goodput_per_s'])} within the limits, "
        f"with {_offer(best)}"
    )
    if not any(limits_ms.values()):
        return f"{text}."
    return f"{text}{_highest_held(rates, best)}; the shaded regions keep the limits."


def _highest_held(rates: pd.DataFrame, best: pd.Series) -> str:
    """The highest rate that kept the limits, if it is not the one of the best goodput.

    A rate may break them and complete more within them than a lower one that keeps them; and of
    short tests a higher rate may complete less.
    """
    held = (rates["verdict"] == "VALID") | (rates["goodput_per_s"] >= rates["samples_per_s"])
    if not held.any():
        return ""
    highest = rates.loc[rates.loc[held, "offered"].idxmax()]
    if highest["offered"] == best["offered"]:
        return ""
    return f"; the highest rate that kept them is {_offer(highest)}"


def _ttft(point: pd.Series) -> str:
    """Its highest percentile with a bound, and what a p99 lacks."""
    label = next((n for n in reversed(PERCENTILES) if pd.notna(point.get(f"ttft_{n}_ms"))), None)
    if label is None:
        said = f"a maximum of {say_ms(point['ttft_max_ms'])}"
    else:
        at, upper = point[f"ttft_{label}_ms"], point[f"ttft_{label}_upper_ms"]
        said = f"a {label} of {say_ms(at)} (at most {say_ms(upper)})"
    lacks = lacking(int(point["queries"]))
    return f"{said} ({lacks})" if lacks else said


def _offer(point: pd.Series) -> str:
    """What was offered, and in which test if that was none of the sweep's."""
    said = say_offer(point["kind"], point["offered"])
    if point["kind"] == "concurrency":
        return said
    part = "" if point["part"] == "sweep" else f" ({point['part']})"
    return f"{said} offered{part}"


def say_offer(kind: object, offered: float) -> str:
    """What was offered: "1 query/s", "8 queries at once"."""
    return per_s(offered, 4) if kind == "rate" else f"{count(int(offered), 'query')} at once"


def distributions_caption(runs: dict[str, Digest]) -> str:
    """The sentence under ``distributions``."""
    medians = ", ".join(
        f"{say_ms(statistics.median(run.quantiles['ttft_ms']))} ({visible(name)})"
        for name, run in runs.items()
    )
    repeated = " Of several runs it is the median one." if any(
        run.runs > 1 for run in runs.values()) else ""  # fmt: skip
    return (
        f"Half of the queries had their first token within {medians}. Each line is all queries of "
        f"one test: of a line further left more were faster.{repeated}"
    )
