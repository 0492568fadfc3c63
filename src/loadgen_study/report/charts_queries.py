"""Interactive figures of a test's queries: each answers a hover with the query's stamps."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.metrics import answered
from loadgen_study.inputs.data import EMBEDDED
from loadgen_study.report.interactive import (
    GREY,
    MOST_POINTS,
    WIDE,
    Drawn,
    bins_of,
    called,
    histogram,
    ruler,
    source,
    stretch_of_time,
    thin,
    tooltip,
)
from loadgen_study.report.plots_queries import (
    FAR_LIMIT,
    NAMES,
    PARTS,
    bins,
    known,
    limit_of,
    marks,
    not_judged,
    short,
    stretch,
)
from loadgen_study.report.style import BLUE, ORANGE, RED
from loadgen_study.results.test import Test
from loadgen_study.words import count, say_ms, visible

ACROSS = {"due_s": "due at, s", "query": "query, in order of issue"}
LATENCY = "datum.done_s === null ? null : datum.done_s - datum.due_s"
TIMES = {"due": "scheduled", "issued": "issued", "begun": "started", "first": "first_token",
         "done": "done"}  # fmt: skip
LONGEST_OPENING = 60  # characters of an article that a hover shows
STAMPS = {
    "query": "query", "sample": "sample", "due_s": "due, s", "issued_s": "issued, s",
    "begun_s": "begun, s", "first_s": "first token, s", "done_s": "done, s",
    "prompt_tokens": "prompt, tokens", "answer_tokens": "answer, tokens", "ttft_ms": "TTFT, ms",
    "tpot_ms": "TPOT, ms", "over": "over a limit",
}  # fmt: skip


def queries(test: Test, most: int = MOST_POINTS) -> pd.DataFrame:
    """The queries that are drawn, a row each: all of them, or of many those that matter.

    Kept of many: those over a limit, the slowest, the unanswered, and the timeline's unbroken
    stretch; of the others an even choice.

    Returns:
        the columns of ``STAMPS``, times in s since the test's start to the ms, and article where
        the data are the embedded ones.
    """
    frame = test.latencies.reset_index(drop=True)
    over = _over(test, frame)
    slowest = frame[["ttft_ms", "tpot_ms", "latency_ms"]].rank(ascending=False).min(axis=1) <= 20
    middle = frame.index.to_series().between(*stretch(len(frame)))
    drawn = thin(frame, (over != "no") | slowest | middle | ~answered(frame), most)
    return pd.DataFrame(
        {
            "query": drawn.index,
            "sample": drawn["sample_index"],
            **{
                f"{short}_s": drawn[f"{long}_s"].round(3)
                for short, long in TIMES.items()
            },
            "prompt_tokens": drawn["input_tokens"],
            "answer_tokens": drawn["output_tokens"],
            "ttft_ms": drawn["ttft_ms"].round(1),
            "tpot_ms": drawn["tpot_ms"].round(2),
            "over": over[drawn.index],
            **_article(test, drawn["sample_index"]),
        }
    )  # fmt: skip


def _over(test: Test, frame: pd.DataFrame) -> "pd.Series[str]":
    """Which limit each query is over: "no", "TTFT", "TPOT" or "TTFT and TPOT"."""
    ttft, tpot = (
        (frame[f"{name}_ms"] > limit if limit else pd.Series(False, index=frame.index))
        for name, limit in test.limits_ms.items()
    )
    words = np.select([ttft & tpot, ttft, tpot], ["TTFT and TPOT", "TTFT", "TPOT"], "no")
    return pd.Series(words, index=frame.index)


def _article(test: Test, samples: "pd.Series[int]") -> "dict[str, pd.Series[str]]":
    """How each query's article begins; nothing of data that are not at hand."""
    if test.params.dataset != EMBEDDED:
        return {}
    task = test.params.rules.task
    path = resources.files("loadgen_study") / "embedded" / task.embedded
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    openings = [_opening(row[task.data.text[0]]) for row in rows]
    return {"article": samples.map(lambda at: openings[at] if at < len(openings) else "")}


def _opening(article: str) -> str:
    return visible(article[:LONGEST_OPENING].rsplit(" ", 1)[0]) + " ..."


def thinned(test: Test) -> str:
    """What is left out of the interactive figures, as a sentence; empty if nothing is."""
    drawn, total = len(queries(test)), len(test.latencies)
    if drawn == total:
        return ""
    return (
        f"The interactive figures draw {drawn:,} of {count(total, 'query')}: the slowest, those "
        f"over a limit, an unbroken stretch in the middle and an even choice of the others; the "
        f"bars count all."
    )


# The figures ------------------------------------------------------------------------------------
def judged_chart(test: Test) -> Drawn:
    """What the queries are judged by, against its limits; for a test that has some."""
    counted = _counted(test, test.result.scenario_traits.judged)
    panels = [_distribution(test, name, counted) for name in test.result.scenario_traits.judged]
    return alt.hconcat(*panels), {"latencies": counted}


def _counted(test: Test, names: Sequence[str]) -> pd.DataFrame:
    """The bars of these distributions."""
    values = {name: test.latencies[f"{name}_ms"].dropna() for name in names}
    return bins_of({name: (of, bins(of, 24)) for name, of in values.items() if len(of)})


def queries_chart(test: Test) -> Drawn:
    """Latency over time, and the timeline of the stretch that is brushed there; above them the
    distributions that are not judged.
    """
    drawn = queries(test)
    across = "due_s" if drawn["due_s"].nunique() > 1 else "query"
    begin, end = stretch(len(test.latencies))
    inside = drawn[drawn["query"].between(begin, end)]
    brushed = [float(inside[across].min()), float(inside[across].max())] if len(inside) else None
    brush = stretch_of_time("stretch", brushed)
    below = (_latency(drawn, across), _chooser(drawn, across, brush), _timeline(drawn, brush))
    above, tables = [], {"queries": drawn}
    if others := not_judged(test):
        tables["latencies"] = counted = _counted(test, others)
        above.append(alt.hconcat(*[_distribution(test, name, counted) for name in others]))
    chart = alt.vconcat(*above, *below).resolve_scale(color="independent", x="independent")
    return chart, tables


def _distribution(test: Test, name: str, counted: pd.DataFrame) -> alt.LayerChart:
    """Histogram of one of ``NAMES`` with its marks and its limit, if that is near the data."""
    found = known(test, name)
    marked: list[dict[str, Any]] = [
        {"at": mark.at_ms, "says": f"{mark.says}{', judged' if mark.judged else ''}"}
        for mark in marks(test, name)
    ]
    limit_ms, _ = limit_of(test, name)
    far = found.queries == 0 or limit_ms > FAR_LIMIT * found.max
    limits: list[dict[str, Any]] = (
        [{"at": limit_ms, "says": f"limit {say_ms(limit_ms)}"}] if limit_ms else []
    )
    said = [str(mark["says"]) for mark in marked + limits]
    if limits and far:
        said[-1] += ", off to the right"
    rules = [
        alt.Chart(alt.InlineData(rows)).mark_rule(color=color, strokeWidth=2, strokeDash=dash)
        .encode(x="at:Q", tooltip=tooltip(says="line"))
        for rows, color, dash in ((marked, GREY, [1, 0]), ([] if far else limits, RED, [3, 3]))
        if rows
    ]  # fmt: skip
    bars = histogram(source("latencies", counted), name, f"{short(name)}, ms")
    return alt.layer(bars, *rules).properties(
        title=alt.Title(NAMES[name], subtitle=said or "no query has one")
    )


def _hover(drawn: pd.DataFrame) -> list[alt.Tooltip]:
    article = {"article": "article"} if "article" in drawn else {}
    return tooltip(**STAMPS, **article)


def _latency(drawn: pd.DataFrame, across: str) -> alt.LayerChart:
    """Latency and TTFT of each query where it was due."""
    colors = {"latency": BLUE, "TTFT": ORANGE}
    base = (
        alt.Chart(source("queries", drawn), width=WIDE, height=200)
        .transform_calculate(
            latency_s=LATENCY,
            ttft_s="datum.first_s === null ? null : datum.first_s - datum.due_s",
        )
        .encode(
            x=alt.X(f"{across}:Q", title=ACROSS[across], scale=alt.Scale(nice=False, padding=6)),
            stroke=alt.condition("datum.over !== 'no'", alt.value(RED), alt.value("transparent")),
            tooltip=_hover(drawn),
        )
    )  # fmt: skip
    marks = {"size": 40, "opacity": 0.9, "strokeWidth": 1.5, "filled": True}
    whole = base.mark_point(shape="circle", **marks).encode(y=alt.Y("latency_s:Q", title="s"))
    first = base.mark_point(shape="triangle-up", **marks).encode(y="ttft_s:Q")
    return alt.layer(
        called(whole, "latency", colors), called(first, "TTFT", colors)
    ).properties(title=alt.Title(
        "Latency of each query over the test",
        subtitle="A red edge: over a limit.",
    ))  # fmt: skip


def _chooser(drawn: pd.DataFrame, across: str, brush: alt.Parameter) -> alt.Chart:
    """The same in small, where a stretch is dragged: over the points above it would hide them."""
    small: alt.Chart = (
        alt.Chart(source("queries", drawn), width=WIDE, height=36)
        .transform_calculate(latency_s=LATENCY)
        .mark_circle(size=9, color=BLUE)
        .encode(
            x=alt.X(f"{across}:Q", title=None, scale=alt.Scale(nice=False, padding=6)),
            y=alt.Y("latency_s:Q", axis=None),
        )
        .properties(
            title=alt.Title("Drag here to choose the queries whose time stands below.", fontSize=12)
        )
        .add_params(brush)
    )
    return small


def _timeline(drawn: pd.DataFrame, brush: alt.Parameter) -> alt.LayerChart:
    """Queue, prefill and decode of the brushed queries; one bar where the engine does not tell."""
    told = drawn.loc[drawn["first_s"].notna(), "begun_s"].notna().all()
    parts = {"queue": ("due_s", "begin_s"), "prefill": ("begin_s", "first_s"),
             "decode": ("first_s", "done_s")} if told else {
             "queue + prefill": ("due_s", "first_s"), "decode": ("first_s", "done_s")}  # fmt: skip
    shades = {**PARTS, "queue": "#b0b0b0", "queue + prefill": "#b0b0b0"}
    colors = {part: shades[part] for part in parts}
    base = (
        alt.Chart(source("queries", drawn), width=WIDE, height=300)
        .transform_filter(brush)
        .transform_filter("datum.first_s !== null && datum.done_s !== null")
        .transform_calculate(begin_s="max(datum.due_s, datum.begun_s)")
        .encode(
            y=alt.Y("query:Q", title="query, in order of issue",
                    scale=alt.Scale(zero=False, reverse=True, nice=False, padding=4)),
            tooltip=_hover(drawn),
        )
    )  # fmt: skip
    layers = [
        called(base.mark_rule(strokeWidth=4), part, colors).encode(
            x=alt.X(f"{left}:Q", title="time, s", scale=alt.Scale(zero=False)), x2=f"{right}:Q"
        )
        for part, (left, right) in parts.items()
    ]
    return alt.layer(*layers).properties(title="Where the time of those queries went")


def arrivals(test: Test) -> Drawn:
    """Queries that had arrived and that were completed."""
    load = test.load_over_time.round({"time_s": 2})
    colors = {"arrived": BLUE, "completed": ORANGE}
    base = alt.Chart(source("load", load), width=WIDE, height=200)
    shown = tooltip(time_s="time, s", arrived="arrived", completed="completed",
                    in_flight="in the system", waiting="waiting of them")  # fmt: skip
    curves = [
        called(base.mark_line(interpolate="step-after", strokeDash=dash), name, colors).encode(
            x=alt.X("time_s:Q", title="time, s", scale=alt.Scale(nice=False)),
            y=alt.Y(f"{name}:Q", title="queries so far"),
        )
        for name, dash in (("arrived", [1, 0]), ("completed", [6, 3]))
    ]  # fmt: skip
    return alt.layer(*curves, ruler(base, "arrivals_at", shown)), {"load": load}


def lengths(test: Test) -> Drawn:
    """Prompt and answer lengths."""
    values = {name: test.latencies[f"{name}_tokens"] for name in ("input", "output")}
    counted = bins_of({name: (of, bins(of, 20)) for name, of in values.items() if len(of)})
    titles = {"input": "Prompts", "output": "Answers"}
    chart = alt.hconcat(*[
        histogram(source("lengths", counted), name, "tokens").properties(
            title=f"{titles[name]}: mean {found.mean():.0f} tokens")
        for name, found in values.items()
    ])  # fmt: skip
    return chart, {"lengths": counted}
