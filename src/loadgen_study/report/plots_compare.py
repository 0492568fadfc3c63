"""Figures of a comparison: the distributions of several runs, one over the other."""

import statistics
from collections.abc import Sequence

import seaborn as sns

from loadgen_study.report.style import Figure, figure
from loadgen_study.runs.compare import LATENCIES, Digest, heading, obstacle
from loadgen_study.words import say_ms, visible

TITLES = {"ttft_ms": "Time to first token", "tpot_ms": "Time per output token",
          "latency_ms": "Latency"}  # fmt: skip
# Distinguished by more than colour.
LINES = ("-", "--", ":", "-.")
# Medians further apart than this are drawn over a logarithm.
WIDE_APART = 10


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
    fig, axes = figure(1, len(LATENCIES), height=3.4)
    colors = sns.color_palette("colorblind", len(runs))
    for axis, latency in zip(axes[0], LATENCIES, strict=True):
        for place, (name, run) in enumerate(runs.items()):
            sns.ecdfplot(
                x=list(run.quantiles[latency]), ax=axis, color=colors[place],
                linestyle=LINES[place % len(LINES)], label=_label(name),
            )  # fmt: skip
        middle = medians(runs, latency)
        if 0 < WIDE_APART * min(middle) < max(middle):
            axis.set_xscale("log")
        else:
            axis.set_xlim(left=0)
        axis.set(xlabel="ms", ylabel="share of queries within")
        axis.set_title(TITLES[latency], fontsize=10)
    handles, labels = axes[0][0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return fig


def medians(runs: dict[str, Digest], latency: str) -> list[float]:
    """The median of each run, ms."""
    return [statistics.median(run.quantiles[latency]) for run in runs.values()]


def _label(name: str) -> str:
    """A run's name as matplotlib shows it: no formula, and not left out for a first underscore."""
    return " " + visible(name).replace("$", r"\$")


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
