"""Runs side by side in JupyterLab: a table, their queries in one chart, limits that move.

``explore`` shows what the other functions return; each of them is of use by itself.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import altair as alt
import ipywidgets as widgets
import pandas as pd
from IPython.display import display

from loadgen_study.analysis.metrics import kept_share
from loadgen_study.report.display import table
from loadgen_study.report.figures.base import thin
from loadgen_study.results.folders import run_folders
from loadgen_study.results.run import Run
from loadgen_study.words import visible
from vllm_loadgen.errors import BenchmarkError

# A chart of more would be slow to draw and large to keep; extremes stay.
MOST_QUERIES = 2000
VALUES = {"ttft_ms": "TTFT, ms", "tpot_ms": "TPOT, ms", "latency_ms": "latency, ms"}
LIMITS_MS = {"ttft": 2000.0, "tpot": 100.0}
FIRST_SHOWN = 2


def runs_table(folders: Sequence[Path]) -> pd.DataFrame:
    """A row a run; of one that cannot be read, or has no finished performance test, why.

    Returns:
        index run; scenario, speed (LoadGen's verdict), accuracy, samples/s, output tokens/s, mean
        TTFT and TPOT in ms, and problem.
    """
    rows = {folder.name: _row(folder) for folder in folders}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def _row(folder: Path) -> dict[str, object]:
    try:
        run = Run.open(folder)
        accuracy = run.accuracy.verdict.status if run.accuracy else "not judged"
        known: dict[str, object] = {"scenario": run.params.scenario, "accuracy": accuracy}
        if (test := run.performance) is None or test.latencies.empty:
            return known | {"problem": "no performance test"}
        metrics = test.metrics
        return known | {
            "speed": test.result.verdict,
            "samples/s": round(metrics.samples_per_s, 3),
            "output tokens/s": round(metrics.tokens_per_s, 1),
            "mean TTFT, ms": round(metrics.ttft_ms.mean, 1),
            "mean TPOT, ms": round(metrics.tpot_ms.mean, 1),
            "problem": "" if test.result.complete else f"the test is {test.result.status}",
        }
    except BenchmarkError as error:
        return {"problem": str(error)}


def within_table(runs: Sequence[Run], limits_ms: Mapping[str, float]) -> pd.DataFrame:
    """The share of each run's queries within limits, and its goodput at them.

    Args:
        runs: those without a performance test are left out.
        limits_ms: on "ttft" and "tpot"; 0 is no limit.

    Returns:
        index run; three shares in %, and goodput (queries/s within both).
    """
    rows = {}
    for run in runs:
        if (test := run.performance) is None or test.latencies.empty:
            continue
        shares = {
            f"{name.upper()} within {limit:g} ms, %": kept_share(test.latencies, {name: limit})
            for name, limit in limits_ms.items()
        }
        shares["both, %"] = both = kept_share(test.latencies, dict(limits_ms))
        row = {name: round(100 * share, 1) for name, share in shares.items()}
        goodput = round(both * test.metrics.samples_per_s, 3)
        rows[run.folder.name] = row | {"goodput, queries/s": goodput}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def queries_chart(runs: Sequence[Run], value: str = "ttft_ms") -> alt.VConcatChart:
    """Queries of runs over the time of their tests; a stretch that is brushed fills the histogram.

    Args:
        value: of ``VALUES``.
    """
    frame = pd.concat([_queries(run, value) for run in runs], ignore_index=True)
    brush = alt.selection_interval(encodings=["x"])
    title = VALUES[value]
    points = (
        alt.Chart(frame, width=620, height=200)
        .mark_circle(size=30, opacity=0.6)
        .encode(
            x=alt.X("scheduled_s:Q", title="arrival time, s"),
            y=alt.Y(f"{value}:Q", title=title),
            color=alt.condition(brush, alt.Color("run:N", title="run"), alt.value("lightgray")),
            tooltip=[alt.Tooltip("run:N"),
                     alt.Tooltip("scheduled_s:Q", title="due, s", format=".1f"),
                     alt.Tooltip(f"{value}:Q", title=title, format=",.1f"),
                     alt.Tooltip("output_tokens:Q", title="tokens")],
        )
        .add_params(brush)
    )  # fmt: skip
    bars = (
        alt.Chart(frame, width=620, height=120)
        .mark_bar(opacity=0.7)
        .encode(
            x=alt.X(f"{value}:Q", bin=alt.Bin(maxbins=40), title=title),
            y=alt.Y("count():Q", title="queries", stack=None),
            color="run:N",
        )
        .transform_filter(brush)
    )
    return alt.vconcat(points, bars)


def _queries(run: Run, value: str) -> pd.DataFrame:
    """The answered queries of a run, thinned evenly by their value where there are many."""
    if run.performance is None:
        return pd.DataFrame({"run": [], "scheduled_s": [], value: [], "output_tokens": []})
    frame = run.performance.latencies.dropna(subset=[value])
    frame = thin(frame.sort_values(value), pd.Series(False, frame.index), MOST_QUERIES)
    kept = frame[["scheduled_s", value, "output_tokens"]].round(3)
    return kept.assign(run=visible(run.folder.name))


def explore(outputs: str = "outputs") -> None:
    """Pick runs, see them side by side, brush their queries, move the limits.

    The table of all runs stays in a saved notebook; what moves needs a kernel.

    Args:
        outputs: folder of the runs, from the project's root.
    """
    folders = run_folders(outputs)
    frame = runs_table(folders)
    display(table(frame))
    measured = frame.index[frame["speed"].notna()] if "speed" in frame else []
    if not len(measured):
        print(f"No run under {outputs} has a performance test yet.")
        return
    display(Dashboard({path.name: path for path in folders if path.name in measured}).box)


class Dashboard:
    """The widgets, and what a change of each shows again.

    Args:
        folders: of runs with a performance test, by name.

    Attributes:
        picked, value, limits: the widgets that a reader changes. box: all of them.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._open = cache(Run.open)
        names = list(folders)
        self.picked = widgets.SelectMultiple(
            options=names, value=names[:FIRST_SHOWN], description="runs", rows=min(8, len(names))
        )
        self.value = widgets.Dropdown(
            options=[(title, name) for name, title in VALUES.items()], description="shown"
        )
        self.limits = {
            name: widgets.FloatText(value=limit, step=10.0, description=f"{name.upper()}, ms")
            for name, limit in LIMITS_MS.items()
        }
        self._chart, self._within = widgets.Output(), widgets.Output()
        for widget in (self.picked, self.value):
            widget.observe(self._draw, "value")
        for widget in (self.picked, *self.limits.values()):
            widget.observe(self._count, "value")
        asked = widgets.HBox([self.picked, widgets.VBox([self.value, *self.limits.values()])])
        self.box = widgets.VBox([asked, self._within, self._chart])
        self._draw()
        self._count()

    def _runs(self) -> list[Run]:
        return [self._open(self._folders[name]) for name in self.picked.value]

    def _draw(self, _: object = None) -> None:
        self._chart.outputs = ()  # in place of what was there, also where no event loop runs
        if runs := self._runs():
            self._chart.append_display_data(queries_chart(runs, self.value.value))

    def _count(self, _: object = None) -> None:
        limits = {name: max(widget.value, 0.0) for name, widget in self.limits.items()}
        self._within.outputs = ()
        self._within.append_display_data(table(within_table(self._runs(), limits)))
