"""Figures of a test's queries, with a query's times on hover, and their captions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.early_stopping import judged_share
from loadgen_study.analysis.metrics import answered
from loadgen_study.analysis.percentiles import lacking, percentile, say_bounded, tail, upper_bound
from loadgen_study.facts.results import Distribution
from loadgen_study.inputs.data import EMBEDDED
from loadgen_study.prose import render
from loadgen_study.report.figures.base import (
    BLUE,
    GREY,
    INSET,
    MOST_POINTS,
    ORANGE,
    RED,
    SLIM,
    WIDE,
    Figure,
    bins_of,
    disturbed,
    histogram,
    in_legend,
    lines_at,
    ruler,
    source,
    stretch_of_time,
    thin,
    tooltip,
)
from loadgen_study.results.test import Test
from loadgen_study.words import count, say_ms, visible

ACROSS = {"due_s": "due at, s", "query": "query, in order of issue"}
LATENCY = "datum.done_s === null ? null : datum.done_s - datum.due_s"
TIMES = {"due": "scheduled", "issued": "issued", "begun": "started", "first": "first_token",
         "done": "done"}  # fmt: skip
LONGEST_OPENING = 60  # characters of a sample's text that a hover shows
STAMPS = {
    "query": "query", "sample": "sample", "due_s": "due, s", "issued_s": "issued, s",
    "begun_s": "begun, s", "first_s": "first token, s", "done_s": "done, s",
    "prompt_tokens": "prompt, tokens", "answer_tokens": "answer, tokens", "ttft_ms": "TTFT, ms",
    "tpot_ms": "TPOT, ms", "over": "over a limit",
}  # fmt: skip
PARTS = {"queue": "#949494", "queue + prefill": "#949494", "prefill": ORANGE, "decode": BLUE}
# A limit farther off than this multiple of the largest value would squeeze the data.
FAR_LIMIT = 1.5
TIMELINE_QUERIES = 64
NAMES = {"ttft": "Time to first token", "tpot": "Time per output token",
         "latency": "Latency of a query"}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """What is marked of a distribution, ms.

    Attributes:
        upper_ms: its bound; None of a maximum, which needs none.
        judged: whether LoadGen judges the test by it.
    """

    label: str
    at_ms: float
    upper_ms: float | None = None
    judged: bool = False

    @property
    def says(self) -> str:
        """The mark as a reader would say it: "p90 545 ms (at most 1,017 ms)"."""
        if self.upper_ms is None:
            return f"maximum {say_ms(self.at_ms)}"
        return say_bounded(self.label, self.at_ms, self.upper_ms)


# What is drawn ----------------------------------------------------------------------------------
def not_judged(test: Test) -> list[str]:
    """The latencies of a test that it is not judged by."""
    return [name for name in ("ttft", "tpot") if name not in test.result.scenario_traits.judged]


def short(name: str) -> str:
    """What an axis calls one of ``NAMES``: "TTFT", "TPOT", "latency"."""
    return name if name == "latency" else name.upper()


def limit_of(test: Test, name: str) -> tuple[float, float | None]:
    """The limit on one of ``NAMES``, ms, and the percentile at which it is judged.

    0 without a limit, None where LoadGen does not judge by it.
    """
    limit_ms = test.limits_ms.get(name, 0.0)
    is_judged = name in test.result.scenario_traits.judged and (limit_ms or name == "latency")
    return limit_ms, judged_share(test.result) if is_judged else None


def marks(test: Test, name: str) -> list[Mark]:
    """What is marked of a distribution: p50, and the percentile that is judged.

    If none is judged, the highest that has a bound; with too few queries for it, the maximum.
    """
    found, values = known(test, name), test.latencies[f"{name}_ms"]
    if not found.queries:
        return []
    (_, share), highest = limit_of(test, name), tail(found.queries)
    middle = [Mark("p50", found.p50, found.p50_upper)] if highest else []
    if share is not None and not lacking(found.queries, share):
        at, upper = percentile(values, share), upper_bound(values, share)
        return [*middle, Mark(f"p{share * 100:g}", at, upper, judged=True)]
    if share is None and highest not in (None, "p50"):
        at, upper = getattr(found, highest), getattr(found, f"{highest}_upper")
        return [*middle, Mark(highest, at, upper)]
    return [*middle, Mark("max", found.max)]


def known(test: Test, name: str) -> Distribution:
    """The distribution of one of ``NAMES``."""
    found: Distribution = getattr(test.metrics, f"{name}_ms")
    return found


def stretch(queries: int) -> tuple[int, int]:
    """The first and the last query of the timeline: an unbroken stretch from the middle of many.

    A few, spread over a long test, would be dots.
    """
    start = max(0, (queries - TIMELINE_QUERIES) // 2)
    return start, min(queries, start + TIMELINE_QUERIES) - 1


def queries(test: Test) -> pd.DataFrame:
    """The queries that are drawn, a row each: all of them, or a choice of many.

    Always chosen: those over a limit, the slowest, the unanswered, and the timeline's unbroken
    stretch; evenly chosen: the others.

    Returns:
        the columns of ``STAMPS``, times in s since the test's start to the ms, and how the sample
        begins, by its column's name, where the data are the embedded ones.
    """
    frame = test.latencies.reset_index(drop=True)
    over = _over(test, frame)
    slowest = frame[["ttft_ms", "tpot_ms", "latency_ms"]].rank(ascending=False).min(axis=1) <= 20
    middle = frame.index.to_series().between(*stretch(len(frame)))
    drawn = thin(frame, (over != "no") | slowest | middle | ~answered(frame), MOST_POINTS)
    return pd.DataFrame(
        {
            "query": drawn.index,
            "sample": drawn["sample_index"],
            **{f"{name}_s": drawn[f"{time}_s"].round(3) for name, time in TIMES.items()},
            "prompt_tokens": drawn["input_tokens"],
            "answer_tokens": drawn["output_tokens"],
            "ttft_ms": drawn["ttft_ms"].round(1),
            "tpot_ms": drawn["tpot_ms"].round(2),
            "over": over[drawn.index],
            **_opening(test, drawn["sample_index"]),
        }
    )


def _over(test: Test, frame: pd.DataFrame) -> "pd.Series[str]":
    """Which limit each query is over: "no", "TTFT", "TPOT" or "TTFT and TPOT"."""
    ttft, tpot = (
        (frame[f"{name}_ms"] > limit if limit else pd.Series(False, index=frame.index))
        for name, limit in test.limits_ms.items()
    )
    words = np.select([ttft & tpot, ttft, tpot], ["TTFT and TPOT", "TTFT", "TPOT"], "no")
    return pd.Series(words, index=frame.index)


def _opening(test: Test, samples: "pd.Series[int]") -> "dict[str, pd.Series[str]]":
    """The beginning of each query's text; empty unless the data are embedded."""
    if test.params.dataset != EMBEDDED:
        return {}
    task = test.params.rules.task
    path = resources.files("loadgen_study") / "embedded" / task.embedded
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    column = task.data.text[0]
    texts = [row[column][:LONGEST_OPENING] for row in rows]
    openings = [visible(text.rsplit(" ", 1)[0]) + " ..." for text in texts]
    return {column: samples.map(lambda at: openings[at] if at < len(openings) else "")}


# The figures ------------------------------------------------------------------------------------
def judged_latencies(test: Test) -> Figure:
    """What the queries are judged by, against its limits; for a test that has some."""
    counted = _counted(test, test.result.scenario_traits.judged)
    panels = [_distribution(test, name, counted) for name in test.result.scenario_traits.judged]
    return Figure(alt.hconcat(*panels), {"latencies": counted})


def _counted(test: Test, names: Sequence[str]) -> pd.DataFrame:
    """The bars of these distributions."""
    return bins_of({name: test.latencies[f"{name}_ms"].dropna() for name in names})


def over_test(test: Test) -> Figure:
    """The distributions that are not judged, latency over time, and a timeline of its stretch."""
    drawn = queries(test)
    across = "due_s" if drawn["due_s"].nunique() > 1 else "query"
    begin, end = stretch(len(test.latencies))
    inside = drawn[drawn["query"].between(begin, end)]
    brushed = [float(inside[across].min()), float(inside[across].max())] if len(inside) else None
    brush = stretch_of_time("stretch", brushed)
    shaded = disturbed(test.disturbed, ACROSS[across]) if across == "due_s" else []
    above, tables = [], {"queries": drawn}
    if others := not_judged(test):
        tables["latencies"] = counted = _counted(test, others)
        above.append(alt.hconcat(*[_distribution(test, name, counted) for name in others]))
    chart = alt.vconcat(
        *above,
        _latency(drawn, across, shaded),
        _chooser(drawn, across, brush),
        _timeline(drawn, brush),
    )
    return Figure(chart.resolve_scale(color="independent", x="independent"), tables)


def _distribution(test: Test, name: str, counted: pd.DataFrame) -> alt.LayerChart:
    """Histogram of one of ``NAMES`` with its marks and its limit, if that is near the data."""
    marked = [
        {"at": mark.at_ms, "label": mark.label, "judged": mark.judged,
         "says": f"{mark.says}{', judged' if mark.judged else ''}"}
        for mark in marks(test, name)
    ]  # fmt: skip
    found, (limit_ms, _) = known(test, name), limit_of(test, name)
    limits = [{"at": limit_ms, "label": "limit", "says": f"limit {say_ms(limit_ms)}"}]
    said = [str(line["says"]) for line in [*marked, *(limits if limit_ms else [])]]
    if limit_ms and (found.queries == 0 or limit_ms > FAR_LIMIT * found.max):
        said[-1] += ", off to the right"
        limit_ms = 0.0
    rules = [
        *lines_at("x", [line for line in marked if not line["judged"]], GREY),
        *lines_at("x", [line for line in marked if line["judged"]], GREY, (1, 0)),
        *lines_at("x", limits if limit_ms else [], RED),
    ]
    bars = histogram(source("latencies", counted), name, f"{short(name)}, ms")
    return alt.layer(bars, *rules).properties(
        title=alt.Title(NAMES[name], subtitle=said or "no query has one")
    )


def _hover(drawn: pd.DataFrame) -> list[alt.Tooltip]:
    return tooltip(**STAMPS, **{name: name for name in drawn if name not in STAMPS})


def _latency(drawn: pd.DataFrame, across: str, shaded: list[alt.Chart]) -> alt.LayerChart:
    """Latency and TTFT of each query where it was due, over the shaded times."""
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
    up = alt.Y("latency_s:Q", title="latency, s")
    whole = base.mark_point(shape="circle", **marks).encode(y=up)
    first = base.mark_point(shape="triangle-up", **marks).encode(y="ttft_s:Q")
    points = alt.layer(
        *shaded, in_legend(whole, "latency", colors), in_legend(first, "TTFT", colors)
    )
    notes = ["A red edge: over a limit."] if (drawn["over"] != "no").any() else []
    notes += ["Grey: other programs used the machine."] if shaded else []
    title = alt.Title("Latency of each query", subtitle=notes or alt.Undefined)
    return points.properties(title=title)


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
        .properties(title=alt.Title("Drag to choose the queries below", fontSize=12))
        .add_params(brush)
    )
    return small


def _timeline(drawn: pd.DataFrame, brush: alt.Parameter) -> alt.LayerChart:
    """Queue, prefill and decode of the brushed queries; queue and prefill as one if not known."""
    known = drawn.loc[drawn["first_s"].notna(), "begun_s"].notna().all()
    parts = {"queue + prefill": ("due_s", "first_s")}
    if known:
        parts = {"queue": ("due_s", "begin_s"), "prefill": ("begin_s", "first_s")}
    parts["decode"] = ("first_s", "done_s")
    colors = {part: PARTS[part] for part in parts}
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
        in_legend(base.mark_rule(strokeWidth=4), part, colors).encode(
            x=alt.X(f"{left}:Q", title="time, s", scale=alt.Scale(zero=False)), x2=f"{right}:Q"
        )
        for part, (left, right) in parts.items()
    ]
    return alt.layer(*layers).properties(title="Where each query's time went")


def arrivals(test: Test) -> Figure:
    """Queries that had arrived and that were completed."""
    load = test.load_over_time.round({"time_s": 2})
    colors = {"arrived": BLUE, "completed": ORANGE}
    base = alt.Chart(source("load", load), width=WIDE, height=200)
    shown = tooltip(time_s="time, s", arrived="arrived", completed="completed",
                    in_flight="in the system", waiting="waiting of them")  # fmt: skip
    curves = [
        in_legend(base.mark_line(interpolate="step-after", strokeDash=dash), name, colors).encode(
            x=alt.X("time_s:Q", title="time, s", scale=alt.Scale(nice=False)),
            y=alt.Y(f"{name}:Q", title="queries so far"),
        )
        for name, dash in (("arrived", [1, 0]), ("completed", [6, 3]))
    ]  # fmt: skip
    return Figure(alt.layer(*curves, ruler(base, "arrivals_at", shown)), {"load": load})


def lengths(test: Test) -> Figure:
    """Prompt and answer lengths, and TTFT by the length of the prompt."""
    values = {name: test.latencies[f"{name}_tokens"] for name in ("input", "output")}
    counted = bins_of(values)
    titles = {"input": "Prompts", "output": "Answers"}
    panels = [
        histogram(source("lengths", counted), name, "length, tokens").properties(
            title=f"{titles[name]}: mean {found.mean():.0f} tokens", width=SLIM
        )
        for name, found in values.items()
    ]
    drawn = queries(test)
    points = (
        alt.Chart(source("queries", drawn), width=SLIM, height=170, title="TTFT by prompt length")
        .mark_circle(size=36, opacity=0.7, color=BLUE)
        .encode(
            x=alt.X("prompt_tokens:Q", title="prompt, tokens", scale=INSET),
            y=alt.Y("ttft_ms:Q", title="TTFT, ms"),
            tooltip=_hover(drawn),
        )
    )
    return Figure(alt.hconcat(*panels, points), {"lengths": counted, "queries": drawn})


# Captions ---------------------------------------------------------------------------------------
def distribution_caption(test: Test, name: str) -> str:
    """How many of one of ``NAMES`` are over their limit, and the maximum."""
    values, (limit_ms, share) = test.latencies[f"{name}_ms"].dropna(), limit_of(test, name)
    return render(
        "report/figures/distribution",
        title=NAMES[name],
        queries=len(values),
        limit_ms=limit_ms,
        judged="" if share is None else f"p{share * 100:g}",
        over=int((values > limit_ms).sum()),
        most=known(test, name).max,
    )


def timeline_caption(test: Test) -> str:
    """The shares of queue, prefill and decode in all queries' time; what is left out of a chart."""
    parts = test.latencies[["queue_ms", "prefill_ms", "decode_ms"]].dropna()
    total = parts.to_numpy().sum()
    return render(
        "report/figures/timeline",
        shares=(parts.sum() / total).to_dict() if total else {},
        drawn=len(queries(test)),
        total=len(test.latencies),
    )


def load_caption(test: Test) -> str:
    """How many queries were in the system, and how many waited."""
    load = test.load
    return (
        f"At most {count(round(load.peak_in_flight), 'query')} in the system, "
        f"{load.peak_waiting:.0f} waiting."
    )


def lengths_caption(test: Test) -> str:
    """The least and the greatest length of prompts and answers."""
    prompts = test.latencies["input_tokens"]
    answers = test.latencies.loc[test.latencies["done_s"].notna(), "output_tokens"]
    ends = [sorted({of.min(), of.max()}) if len(of) else [] for of in (prompts, answers)]
    return render(
        "report/figures/lengths",
        prompts=ends[0],
        answers=ends[1],
        longest=int((answers == answers.max()).sum()),
        answered=len(answers),
    )
