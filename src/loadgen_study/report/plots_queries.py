"""Figures of a test's queries, each with the sentence that says what is to be seen in it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from loadgen_study.analysis.early_stopping import judged
from loadgen_study.analysis.percentiles import lacking, percentile, say_bounded, tail, upper_bound
from loadgen_study.facts.results import Distribution
from loadgen_study.report.style import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    TITLE_PAD,
    Figure,
    figure,
    legend_above,
)
from loadgen_study.results.test import Test
from loadgen_study.words import count, say_ms

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


def overview(test: Test, title: str) -> Figure:
    """The whole test on one page: benchmark_results_visualization.png."""
    fig, axes = figure(3, 2, height=3.2)
    fig.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    _draw_distribution(axes[0, 0], test, "ttft")
    _draw_distribution(axes[0, 1], test, "tpot")
    _draw_latency_over_time(axes[1, 0], test)
    draw_load(axes[1, 1], test)
    _draw_timeline(axes[2, 0], test)
    draw_throughput(axes[2, 1], test)
    return fig


def not_judged(test: Test) -> list[str]:
    """What a reader asks of a test's queries apart from what they are judged by."""
    return [name for name in ("ttft", "tpot") if name not in test.result.scenario_traits.judged]


def judged_figure(test: Test) -> Figure:
    """What the queries are judged by, against its limits; for a test that has some."""
    names = test.result.scenario_traits.judged
    fig, axes = figure(1, len(names), height=2.6)
    for axis, name in zip(axes[0], names, strict=True):
        _draw_distribution(axis, test, name)
    return fig


def queries_figure(test: Test) -> Figure:
    """Each query over the test, and where its time went; the distributions that are not judged."""
    others = not_judged(test)
    fig, axes = figure(2 if others else 1, 2, height=3.2)
    for axis, name in zip(axes.flat, others, strict=False):
        _draw_distribution(axis, test, name)
    _draw_latency_over_time(axes[-1, 0], test)
    _draw_timeline(axes[-1, 1], test)
    return fig


def arrivals(test: Test) -> Figure:
    """Queries that had arrived and that were completed: the lines part where a queue grows."""
    fig, axes = figure(height=2.8)
    _draw_arrivals(axes[0, 0], test)
    return fig


def lengths(test: Test) -> Figure:
    """Prompt and answer lengths."""
    fig, axes = figure(1, 2, height=2.8)
    for axis, name, color in ((axes[0, 0], "input", BLUE), (axes[0, 1], "output", ORANGE)):
        values = test.latencies[f"{name}_tokens"]
        sns.histplot(
            values, bins=bins(values, 20), ax=axis, color=color, edgecolor="white", linewidth=0.5
        )
        axis.set(xlabel=f"{name} tokens", ylabel="queries")
        axis.set_title(f"{name.capitalize()}: mean {values.mean():.0f} tokens", fontsize=10)
    return fig


def _draw_distribution(axis: Axes, test: Test, name: str) -> None:
    """Histogram of one of ``NAMES``, its ``marks``, and the limit if it is near the data."""
    values = test.latencies[f"{name}_ms"].dropna()
    axis.set(xlabel=f"{short(name)}, ms", ylabel="queries")
    axis.set_title(NAMES[name], fontsize=10)
    if values.empty:
        return
    sns.histplot(
        values,
        bins=bins(values, 24),
        ax=axis,
        color=BLUE,
        alpha=0.8,
        edgecolor="white",
        linewidth=0.5,
    )
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    for mark in marks(test, name):
        said = f"{mark.label} {mark.at_ms:,.0f}"
        said += f" (at most {mark.upper_ms:,.0f})" if mark.upper_ms is not None else ""
        style, width = ("-", 1.2) if mark.label == "p50" else ("--", 2 if mark.judged else 1.2)
        axis.axvline(mark.at_ms, color="black", linestyle=style, linewidth=width, label=said)
    limit_ms, _ = limit_of(test, name)
    if limit_ms > FAR_LIMIT * values.max():
        axis.plot(
            [], [], color=RED, linestyle=":", label=f"limit {limit_ms:,.0f}, off to the right"
        )
    elif limit_ms:
        axis.axvline(
            limit_ms, color=RED, linestyle=":", linewidth=2, label=f"limit {limit_ms:,.0f}"
        )
    legend_above(axis)


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


def _draw_latency_over_time(axis: Axes, test: Test) -> None:
    """Latency and TTFT of each query at its due time: a rising line is a growing queue."""
    frame = test.latencies
    # Due all at once, as in Offline, they stand in order of issue instead.
    spread = frame["scheduled_s"].nunique() > 1
    across = frame["scheduled_s"] if spread else pd.Series(np.arange(len(frame)))
    for name, color, marker in (("latency", BLUE, "o"), ("ttft", ORANGE, "^")):
        label = "latency" if name == "latency" else "TTFT"
        axis.plot(
            across, frame[f"{name}_ms"] / 1e3, marker, color=color,
            markersize=3.5, alpha=0.8, label=label,
        )  # fmt: skip
    axis.set(xlabel="arrival time, s" if spread else "query, in order of issue", ylabel="s")
    axis.set_ylim(bottom=0)
    axis.set_title("Latency of each query over the test", fontsize=10)
    legend_above(axis)


def _draw_arrivals(axis: Axes, test: Test) -> None:
    """Queries that had arrived and that were completed: the lines part where a queue grows."""
    load = test.load_over_time
    for name, color, line in (("arrived", BLUE, "-"), ("completed", ORANGE, "--")):
        axis.step(load["time_s"], load[name], where="post", color=color, linestyle=line, label=name)
    axis.set(xlabel="time, s", ylabel="queries so far")
    axis.set_ylim(bottom=0)
    axis.set_title("Arrivals and completions", fontsize=10)
    legend_above(axis)


def draw_load(axis: Axes, test: Test) -> None:
    """Queries in the system, and those of them not begun."""
    load = test.load_over_time
    axis.fill_between(
        load["time_s"], load["in_flight"], step="post", color=BLUE, alpha=0.3, label="in the system"
    )
    axis.step(
        load["time_s"], load["waiting"], where="post", color=RED, linewidth=1.2, label="waiting"
    )
    axis.set(xlabel="time, s", ylabel="queries")
    axis.set_ylim(bottom=0)
    axis.set_title("Queries in the system, and how many of them wait", fontsize=10)
    legend_above(axis)


def _draw_timeline(axis: Axes, test: Test) -> None:
    """Queue, prefill and decode of up to ``TIMELINE_QUERIES`` queries from the middle of the test.

    Where the engine does not tell when it began a query, queue and prefill are one bar.
    """
    frame = test.latencies
    axis.set(xlabel="time, s", ylabel="query")
    axis.grid(axis="y", visible=False)
    some = frame.reset_index(drop=True).loc[slice(*stretch(len(frame)))]
    some = some.dropna(subset=["first_token_s", "done_s"])
    kind = "Queries" if len(some) == len(frame) else f"{len(some)} of {len(frame):,} queries"
    axis.set_title(f"{kind}: where their time went", fontsize=10)
    if some.empty:
        return
    due, first = some["scheduled_s"], some["first_token_s"]
    begun = some["started_s"].clip(lower=due)
    edges = {"decode": (first, some["done_s"])}
    if begun.notna().all():
        edges = {"queue": (due, begun), "prefill": (begun, first), **edges}
    else:
        edges = {"queue + prefill": (due, first), **edges}
    for part, (left, right) in edges.items():
        axis.barh(some.index, right - left, left=left, color=PARTS[part], height=0.8, label=part)
    axis.invert_yaxis()
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axis)


def stretch(queries: int) -> tuple[int, int]:
    """The first and the last query of the timeline: of many an unbroken stretch from the middle.

    A few spread over a long test would be dots.
    """
    start = max(0, (queries - TIMELINE_QUERIES) // 2)
    return start, min(queries, start + TIMELINE_QUERIES) - 1


def draw_throughput(axis: Axes, test: Test) -> None:
    """Output tokens a second over the test (see ``Test.token_rates``)."""
    axis.set(xlabel="time, s", ylabel="tokens/s")
    axis.set_title("Output tokens per second", fontsize=10, pad=TITLE_PAD)
    edges, rates = test.token_rates
    if len(edges) == 0:
        return
    axis.step(edges, [*rates, rates[-1]], where="post", color=GREEN, linewidth=1.5)
    axis.fill_between(edges, [*rates, rates[-1]], step="post", color=GREEN, alpha=0.2)
    axis.set_ylim(bottom=0)


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
