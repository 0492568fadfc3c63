"""Figures of a test's queries, which answer a hover by the query's stamps, and their captions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.early_stopping import judged
from loadgen_study.analysis.metrics import answered
from loadgen_study.analysis.percentiles import lacking, percentile, say_bounded, tail, upper_bound
from loadgen_study.facts.results import Distribution
from loadgen_study.inputs.data import EMBEDDED
from loadgen_study.report.figures.base import (
    BLUE,
    GREY,
    MOST_POINTS,
    ORANGE,
    RED,
    WIDE,
    Figure,
    bins_of,
    called,
    histogram,
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
LONGEST_OPENING = 60  # characters of an article that a hover shows
STAMPS = {
    "query": "query", "sample": "sample", "due_s": "due, s", "issued_s": "issued, s",
    "begun_s": "begun, s", "first_s": "first token, s", "done_s": "done, s",
    "prompt_tokens": "prompt, tokens", "answer_tokens": "answer, tokens", "ttft_ms": "TTFT, ms",
    "tpot_ms": "TPOT, ms", "over": "over a limit",
}  # fmt: skip
# Light, middle and dark: distinct in grey, too.
PARTS = {"queue": "#d4d4d4", "queue + prefill": "#d4d4d4", "prefill": ORANGE, "decode": BLUE}
# A limit farther off than this multiple of the largest value would squeeze the data.
FAR_LIMIT = 3
TIMELINE_QUERIES = 60
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
    """What a reader asks of a test's queries apart from what they are judged by."""
    return [name for name in ("ttft", "tpot") if name not in test.result.scenario_traits.judged]


def short(name: str) -> str:
    """What an axis calls one of ``NAMES``: "TTFT", "TPOT", "latency"."""
    return name if name == "latency" else name.upper()


def limit_of(test: Test, name: str) -> tuple[float, float | None]:
    """The limit on one of ``NAMES``, ms, and the percentile that is judged.

    0 where there is no limit, None where LoadGen does not judge by it.
    """
    limit_ms, share = judged(test.result, "tpot" if name == "tpot" else "ttft")
    if name not in test.result.scenario_traits.judged or (name != "latency" and not limit_ms):
        return 0.0, None
    return (0.0 if name == "latency" else limit_ms), share


def marks(test: Test, name: str) -> list[Mark]:
    """What is marked of a distribution: p50, and the percentile that is judged.

    Where none is judged, the highest that has a bound; of too few queries for it the maximum.
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


def bins(values: pd.Series, most: int) -> np.ndarray:
    """Edges of a histogram; one bin for values that are all but equal, which numpy refuses."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(abs(high), 1.0):
        half = 0.02 * max(abs(high), 1.0)
        return np.array([low - half, high + half])
    return np.linspace(low, high, most + 1)


def stretch(queries: int) -> tuple[int, int]:
    """The first and the last query of the timeline: of many an unbroken stretch from the middle.

    A few spread over a long test would be dots.
    """
    start = max(0, (queries - TIMELINE_QUERIES) // 2)
    return start, min(queries, start + TIMELINE_QUERIES) - 1


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
def judged_latencies(test: Test) -> Figure:
    """What the queries are judged by, against its limits; for a test that has some."""
    counted = _counted(test, test.result.scenario_traits.judged)
    panels = [_distribution(test, name, counted) for name in test.result.scenario_traits.judged]
    return Figure(alt.hconcat(*panels), {"latencies": counted})


def _counted(test: Test, names: Sequence[str]) -> pd.DataFrame:
    """The bars of these distributions."""
    values = {name: test.latencies[f"{name}_ms"].dropna() for name in names}
    return bins_of({name: (of, bins(of, 24)) for name, of in values.items() if len(of)})


def over_test(test: Test) -> Figure:
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
    return Figure(chart, tables)


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


def arrivals(test: Test) -> Figure:
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
    return Figure(alt.layer(*curves, ruler(base, "arrivals_at", shown)), {"load": load})


def lengths(test: Test) -> Figure:
    """Prompt and answer lengths."""
    values = {name: test.latencies[f"{name}_tokens"] for name in ("input", "output")}
    counted = bins_of({name: (of, bins(of, 20)) for name, of in values.items() if len(of)})
    titles = {"input": "Prompts", "output": "Answers"}
    chart = alt.hconcat(*[
        histogram(source("lengths", counted), name, "tokens").properties(
            title=f"{titles[name]}: mean {found.mean():.0f} tokens")
        for name, found in values.items()
    ])  # fmt: skip
    return Figure(chart, {"lengths": counted})


# Captions ---------------------------------------------------------------------------------------
def distribution_caption(test: Test, name: str) -> str:
    """What the distribution of one of ``NAMES`` shows, and by what it is judged."""
    values = test.latencies[f"{name}_ms"].dropna()
    if values.empty:
        return f"No query of this run has a {NAMES[name].lower()}."
    limit_ms, share = limit_of(test, name)
    said = [mark.says for mark in marks(test, name) if mark.label != "max"]
    most = f"maximum {say_ms(known(test, name).max)}"
    text = f"{NAMES[name]}: {', '.join([*said, most])}"
    judged_at = "" if share is None else f"judged at p{share * 100:g}"
    if not limit_ms:
        return f"{text}; {f'{judged_at}, without a limit' if judged_at else 'no limit applies'}."
    over = int((values > limit_ms).sum())
    are = "is" if over == 1 else "are"
    limit = f"the limit of {say_ms(limit_ms)}, which is {judged_at}"
    return f"{text}; {over:,} of {len(values):,} {are} over {limit}."


def load_caption(test: Test) -> str:
    """What arrivals, completions and the queue show."""
    load = test.load
    peak = f"At most {count(round(load.peak_in_flight), 'query')} were in the system at once"
    peak = peak.replace("1 query were", "1 query was")
    waiting = f"at most {load.peak_waiting:.0f} waited"
    if load.arrivals_per_s == float("inf"):
        return f"All queries were there from the start. {peak}; {waiting}."
    return f"{peak}; {waiting}."


def timeline_caption(test: Test) -> str:
    """What the timeline shows."""
    parts = test.latencies[["queue_ms", "prefill_ms", "decode_ms"]].dropna()
    total = parts.to_numpy().sum()
    if not total:
        return "The engine does not tell when it began a query, so queue and prefill are one."
    shares = parts.sum() / total
    return (
        f"Of all time between issue and completion {shares['queue_ms']:.0%} is queue, "
        f"{shares['prefill_ms']:.0%} prefill and {shares['decode_ms']:.0%} decode."
    )


def lengths_caption(test: Test) -> str:
    """What the lengths of prompts and answers show."""
    queries = test.latencies
    if queries.empty:
        return "No query was issued."
    prompts = queries["input_tokens"]
    answers = queries.loc[queries["done_s"].notna(), "output_tokens"]
    text = f"Prompts have {prompts.min()} to {prompts.max()} tokens (mean {prompts.mean():.0f})"
    if answers.empty:
        return f"{text}; no query was answered."
    longest = int((answers == answers.max()).sum())
    return (
        f"{text}, answers {answers.min()} to {answers.max()} (mean {answers.mean():.0f}); "
        f"{longest:,} of {count(len(answers), 'answer')} {'has' if longest == 1 else 'have'} the "
        "greatest length."
    )
