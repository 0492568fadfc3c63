"""The system's speed by a user's, a point for each number of queries at once."""

import altair as alt
import pandas as pd

from loadgen_study.prose import render
from loadgen_study.report.figures.base import BLUE, INSET, WIDE, Figure, source, tooltip

SHOWN = {
    "at_once": "queries at once", "per_device": "tokens/s a device", "user": "one user, tokens/s",
    "sent_ttft_p90_ms": "TTFT from send p90, ms", "limit_share": "share of the decode limit",
}  # fmt: skip


def points(sweep: pd.DataFrame, limits: pd.DataFrame, devices: int) -> pd.DataFrame:
    """The points of a curve: those whose TPOT has a p90.

    Args:
        sweep: the tests at a fixed number of queries at once, of ``runs.sweep.sweep_table``.
        limits: of ``sections.sweep.limits_table``. devices: that the engine uses.

    Returns:
        (points,) columns of ``SHOWN``, as far as known, by rising queries at once.
    """
    if sweep.empty or "user_p90_tokens_per_s" not in sweep:
        return pd.DataFrame()
    rate = sweep["steady_tokens_per_s"].fillna(sweep["tokens_per_s"])
    named = sweep.assign(
        at_once=sweep["offered"].astype(int),
        per_device=rate / devices,
        user=sweep["user_p90_tokens_per_s"],
    ).join(limits.reindex(columns=["limit_share"]))
    kept = named.dropna(subset=["user", "per_device"]).sort_values("at_once")
    return kept[[name for name in SHOWN if name in kept and kept[name].notna().any()]]


def curve(table: pd.DataFrame) -> Figure:
    """Tokens/s of the system over tokens/s of a user, as steps: nothing is known between points.

    Args:
        table: of ``points``.
    """
    base = alt.Chart(source("curve", table.round(4)), width=WIDE, height=260).encode(
        x=alt.X("user:Q", title="one user, tokens/s (1000 / TPOT p90)", scale=INSET),
        y=alt.Y("per_device:Q", title="tokens/s a device", scale=INSET),
        tooltip=tooltip(**{name: SHOWN[name] for name in table}),
    )
    steps = base.mark_line(color=BLUE, interpolate="step-after").encode(order="at_once:Q")
    marks = base.mark_point(color=BLUE, size=84, filled=True, opacity=0.9)
    names = base.mark_text(dy=-11, fontSize=10).encode(text="at_once:Q")
    chart = alt.layer(steps, marks, names).properties(title="System's speed by a user's")
    return Figure(chart, {"curve": table})


def curve_caption(table: pd.DataFrame) -> str:
    """The ends of the curve.

    Args:
        table: of ``points``.
    """
    first, *_, last = table.to_dict("records")
    return render("report/figures/curve", first=first, last=last)
