"""The system's speed by a user's, a point for each number of queries at once."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from loadgen_study.prose import render
from loadgen_study.report.figures.base import (
    BLUE,
    GREEN,
    GREY,
    INSET,
    ORANGE,
    PINK,
    RED,
    WIDE,
    Figure,
    source,
    tooltip,
)
from loadgen_study.runs.curve_points import CurvePoint

SHOWN = {
    "curve": "curve", "at_once": "queries at once", "per_device": "tokens/s a device",
    "user": "one user, tokens/s", "sent_ttft_p90_ms": "TTFT from send p90, ms",
    "limit_share": "share of the decode limit",
}  # fmt: skip
OWN = "this run"
COLOURS = (BLUE, ORANGE, GREEN, PINK, RED, GREY)


def points(curves: Mapping[str, Sequence[CurvePoint]], limits: pd.DataFrame) -> pd.DataFrame:
    """The points of several curves, each by falling tokens/s of a user.

    Args:
        curves: by what the legend calls them, the run's own as ``OWN``.
        limits: of ``sections.sweep.limits_table``.

    Returns:
        (points,) columns of ``SHOWN``, as far as known.
    """
    shares = limits.get("limit_share", pd.Series(dtype=float))
    rows = [
        {
            "curve": name,
            "at_once": point.at_once,
            "per_device": point.tokens_per_s_per_device,
            "user": 1e3 / point.tpot_p90_ms,
            "sent_ttft_p90_ms": point.ttft_p90_ms,
            "limit_share": shares.get(f"{point.at_once}-at-once") if name == OWN else None,
        }
        for name, curve in curves.items()
        for point in sorted(curve, key=lambda one: one.tpot_p90_ms)
    ]
    table = pd.DataFrame(rows, columns=list(SHOWN)).astype({"at_once": "Int64"})
    return table[[name for name in SHOWN if table[name].notna().any()]]


def curve(table: pd.DataFrame) -> Figure:
    """Tokens/s of the system, and TTFT if known, over tokens/s of a user; drawn from ``points``.

    As steps: nothing is known between points.
    """
    panels = [_panel(table, "per_device", "tokens/s a device", 260)]
    panels[0] = panels[0].properties(title="System's speed by a user's")
    if "sent_ttft_p90_ms" in table:
        panels.append(_panel(table, "sent_ttft_p90_ms", SHOWN["sent_ttft_p90_ms"], 130))
    chart = alt.vconcat(*panels, spacing=12).resolve_scale(x="shared")
    return Figure(chart, {"curve": table.round(4)})


def _panel(table: pd.DataFrame, name: str, title: str, height: int) -> alt.LayerChart:
    """One figure of the points over tokens/s of a user."""
    names = list(dict.fromkeys(table["curve"]))
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(names))]
    base = alt.Chart(source("curve", table.round(4)), width=WIDE, height=height).encode(
        x=alt.X("user:Q", title="one user, tokens/s (1000 / TPOT p90)", scale=INSET),
        y=alt.Y(f"{name}:Q", title=title, scale=INSET),
        color=alt.Color(
            "curve:N",
            scale=alt.Scale(domain=names, range=colours),
            legend=alt.Legend() if len(names) > 1 else None,
        ),
        tooltip=tooltip(**{column: SHOWN[column] for column in table}),
    )
    order = alt.Order("user:Q", sort="descending")
    steps = base.mark_line(interpolate="step-after").encode(order=order)
    marks = base.mark_point(size=84, filled=True, opacity=0.9)
    labels = base.mark_text(dy=-11, fontSize=10).encode(text="at_once:Q")
    return alt.layer(steps, marks, labels.transform_filter("isValid(datum.at_once)"))


def curve_caption(table: pd.DataFrame) -> str:
    """The ends of the run's own curve in ``points``, and how many others there are."""
    first, *_, last = table[table["curve"] == OWN].to_dict("records")
    others = table["curve"].nunique() - 1
    return render("report/figures/curve", first=first, last=last, others=others)
