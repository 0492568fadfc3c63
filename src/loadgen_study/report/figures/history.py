"""Each metric over the runs of a history: levels, changes of level, and what was replaced."""

import altair as alt
import pandas as pd

from loadgen_study.report.figures.base import BLUE, GREEN, GREY, RED, WIDE, Figure, source, tooltip
from loadgen_study.runs.history import METRICS, History
from loadgen_study.words import change as say_change

SHOWN = {"name": "run", "date": "date, UTC", "commit": "commit", "value": "value",
         "low": "95 % from", "high": "95 % to"}  # fmt: skip


def history_figure(history: History) -> Figure:
    """A panel a metric: points with intervals, and each level with the range of one more run."""
    points = history.points()
    points["at"] = _labels(points)
    changes, replaced = _changes(history), _replaced(history, points)
    tables = {"history": points.round(4), "changes": changes, "replaced": replaced}
    panels = [
        _panel(tables, metric, title)
        for metric, title in METRICS.items()
        if (points["metric"] == metric).any()
    ]
    return Figure(alt.vconcat(*panels), tables)


def _labels(points: pd.DataFrame) -> pd.Series:
    """The run as its axis has it: number, day and commit."""
    commits = points["commit"].str.split().str[0].where(points["commit"] != "not known", "")
    parts = [points["run"].astype(str), points["date"].str[5:10], commits]
    return parts[0] + " · " + parts[1] + " " + parts[2]


def _changes(history: History) -> pd.DataFrame:
    rows = [
        (change.metric, history.number(change.at), change.decision.outcome,
         say_change(change.decision.change))
        for change in history.changes()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "run", "outcome", "change"])


def _replaced(history: History, points: pd.DataFrame) -> pd.DataFrame:
    """One row a run with something new, at the label of its axis."""
    found = history.replaced()
    labels = points.drop_duplicates("run").set_index("run")["at"]
    rows = [
        (labels[run], ", ".join(rows["what"]))
        for run, rows in found.groupby("run")
        if run in labels
    ]
    return pd.DataFrame(rows, columns=["at", "what"])


def _panel(tables: dict[str, pd.DataFrame], metric: str, title: str) -> alt.LayerChart:
    """The points of one metric over bands of its levels; lines where something was replaced."""
    runs = tables["history"].drop_duplicates("run").sort_values("run")["at"].tolist()
    axis = alt.Axis(labelAngle=-40, labelOverlap=True, labelLimit=120, title=None, grid=False)
    at = alt.X("at:N", sort=runs, scale=alt.Scale(domain=runs), axis=axis)
    up = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    base = (
        alt.Chart(source("history", tables["history"]), width=WIDE, height=170)
        .transform_filter(alt.datum.metric == metric)
        .encode(x=at)
    )
    band = base.mark_area(color=BLUE, opacity=0.12).encode(
        y="next_low:Q", y2="next_high:Q", detail="level:N"
    )
    level = base.mark_line(color=GREY).encode(y="level:Q", detail="level:N")
    bars = [base.mark_rule(color=BLUE).encode(y="low:Q", y2="high:Q")]
    if tables["history"]["low"].isna().all():
        bars = []  # Vega warns of a scale without a value
    dots = base.mark_point(color=BLUE, filled=True, size=46, opacity=0.9).encode(
        y=up, tooltip=tooltip(**SHOWN)
    )
    news = (
        alt.Chart(source("replaced", tables["replaced"]))
        .mark_rule(color=GREY, strokeDash=[2, 3], size=2)
        .encode(x=at, tooltip=tooltip(at="run", what="new"))
    )
    return alt.layer(band, news, level, *bars, dots, *_marks(tables, metric, base))


def _marks(tables: dict[str, pd.DataFrame], metric: str, base: alt.Chart) -> list[alt.Chart]:
    """A diamond and the change at each run with which a level begins."""
    changes = tables["changes"]
    if not (changes["metric"] == metric).any():
        return []
    outcomes = alt.Scale(domain=["better", "worse"], range=[GREEN, RED])
    kept = alt.LookupData(
        source("changes", changes[changes["metric"] == metric]), "run", ["change", "outcome"]
    )
    marked = (
        base.transform_lookup("run", from_=kept)
        .transform_filter("datum.change")
        .encode(y="value:Q", color=alt.Color("outcome:N", scale=outcomes, legend=None))
    )
    diamonds = marked.mark_point(shape="diamond", filled=True, size=160)
    return [diamonds, marked.mark_text(dy=-13, fontSize=11).encode(text="change:N")]
