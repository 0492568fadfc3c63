"""What every figure shares: its drawing, its data as CSV, its thinning, its look."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from PIL import Image

from loadgen_study.words import percent

VEGALITE = "application/vnd.vegalite.v5+json"  # what a notebook calls it
VERSION = "5.20"  # of Vega-Lite: Altair's
# Each stands out from white and from the page's dark, 3 to 1 at least by WCAG's contrast ratio.
BLUE, ORANGE, GREEN, PINK, RED = "#0173b2", "#c87d0a", "#029e73", "#cc78bc", "#d62f3f"
GREY = "#808080"
# Points that a figure draws at most: more make a large file and say no more.
MOST_POINTS = 2000
MOST_BINS = 24
WIDE, NARROW, SLIM = 760, 335, 215  # px of a figure's one, two or three columns
# No mark lies on an axis' edge.
INSET = alt.Scale(zero=False, nice=False, padding=12)
LOG = alt.Scale(type="log", nice=False, padding=12)
ROUND = alt.Axis(values=[by * 10.0**power for power in range(-2, 7) for by in (1, 2, 5)])
LOOK = {
    "background": "transparent",
    "config": {
        "view": {"stroke": None},
        "axis": {"gridColor": GREY, "gridOpacity": 0.2, "domainColor": GREY, "tickColor": GREY,
                 "titleFontWeight": "normal", "titleFontSize": 12, "labelFontSize": 11,
                 "tickCount": 8},
        "axisY": {"minExtent": 44},  # the panels of one time axis begin alike
        "title": {"anchor": "start", "fontSize": 13, "fontWeight": "normal",
                  "subtitleFontSize": 12, "subtitleColor": GREY},
        "legend": {"orient": "top", "title": None, "labelFontSize": 12},
    },
    # Pictures of it may be saved; its editor would open another site.
    "usermeta": {"embedOptions": {"actions": {"export": True, "source": False, "compiled": False,
                                              "editor": False}}},
}  # fmt: skip


class Figure:
    """A chart that JupyterLab and the report draw, and its picture for all other viewers.

    Args:
        tables: what the chart draws from, by the names given to ``source``. They are kept as CSV,
            which is small and which the report offers as it is.

    Attributes:
        chart: the specification in Vega-Lite.
    """

    def __init__(self, chart: alt.TopLevelMixin, tables: Mapping[str, pd.DataFrame]) -> None:
        # Altair copies the whole chart for each property, and checks its specification as it is
        # built. vl-convert draws every figure in the tests.
        self.chart: dict[str, Any] = {**chart.to_dict(validate=False), **LOOK}
        texts = {name: table.to_csv(index=False) for name, table in tables.items()}
        self.chart["datasets"] = {**self.chart.get("datasets", {}), **texts}

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {VEGALITE: self.chart}

    def _repr_png_(self) -> bytes:
        white = {**self.chart, "background": "white"}
        picture = vl_convert.vegalite_to_png(white, vl_version=VERSION, scale=1.5)
        packed = io.BytesIO()  # of few colours: a tenth of the size
        Image.open(io.BytesIO(picture)).convert("RGB").quantize(64).save(packed, "PNG")
        return packed.getvalue()


def source(name: str, frame: pd.DataFrame) -> alt.NamedData:
    """A chart's data: the table that ``Figure`` gets under this name."""
    numbers = {column: "number" for column in frame.select_dtypes("number")}
    return alt.NamedData(name, format=alt.CsvDataFormat(type="csv", parse=numbers))


def tooltip(**columns: str) -> list[alt.Tooltip]:
    """Columns with their titles."""
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in columns.items()]


def in_legend(chart: alt.Chart, kind: str, colors: Mapping[str, str]) -> alt.Chart:
    """A layer in its kind's colour, which the legend names; ``colors`` has all kinds in order."""
    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    return chart.transform_calculate(kind=f"'{kind}'").encode(
        color=alt.Color("kind:N", scale=scale)
    )


def thin(frame: pd.DataFrame, keep: "pd.Series[bool]", most: int) -> pd.DataFrame:
    """At most ``most`` rows in their order: those to keep, then others, evenly spread.

    If there are more to keep, an even choice of them.
    """
    if len(frame) <= most:
        return frame
    kept, others = np.flatnonzero(keep.to_numpy(bool)), np.flatnonzero(~keep.to_numpy(bool))
    chosen = [_spread(kept, most)]
    chosen.append(_spread(others, most - len(chosen[0])))
    return frame.iloc[np.sort(np.concatenate(chosen))]


def _spread(places: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the places, evenly spread."""
    if len(places) <= most:
        return places
    chosen: np.ndarray = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
    return chosen


def extremes(frame: pd.DataFrame, column: str, buckets: int = 250) -> pd.DataFrame:
    """The rows with the least and the greatest value of each of ``buckets`` stretches, in order."""
    if len(frame) <= 2 * buckets:
        return frame
    plain = frame.reset_index(drop=True)
    groups = plain.groupby(np.arange(len(plain)) * buckets // len(plain))[column]
    return plain.loc[sorted({*groups.idxmin(), *groups.idxmax(), 0, len(plain) - 1})]


def histogram(bins: alt.NamedData, name: str, across: str) -> alt.Chart:
    """Bars of one of ``bins_of``, each with what it holds."""
    shown = tooltip(low="from", high="to", queries="queries", share_up_to="share up to here")
    bars: alt.Chart = (
        alt.Chart(bins, width=NARROW, height=170)
        .transform_filter(alt.datum.of == name)
        .mark_bar(color=BLUE, stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("low:Q", bin="binned", title=across, scale=INSET), x2="high:Q",
            y=alt.Y("queries:Q", title="queries", axis=alt.Axis(tickMinStep=1)),
            tooltip=shown,
        )
    )  # fmt: skip
    return bars


def bins(values: "pd.Series[float]") -> np.ndarray:
    """Edges of a histogram, as many as the root of the values: 8 bars of 64 queries.

    One bin for values that are all but equal, which numpy refuses.
    """
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(abs(high), 1.0):
        half = 0.02 * max(abs(high), 1.0)
        return np.array([low - half, high + half])
    return np.linspace(low, high, min(MOST_BINS, max(5, round(len(values) ** 0.5))) + 1)


def lines_at(axis: str, rows: Sequence[Mapping[str, object]], color: str,
             dash: Sequence[float] = (4, 3)) -> list[alt.Chart]:  # fmt: skip
    """Lines across a panel, each with its name at its upper or right end; none without rows.

    Args:
        axis: x or y. rows: at (on that axis), label, and says, which a hover shows.
    """
    if not rows:
        return []
    base = alt.Chart(alt.InlineData(list(rows))).encode(**{axis: "at:Q"})
    rule = base.mark_rule(color=color, strokeWidth=2, strokeDash=list(dash))
    end = {"y": alt.value(0)} if axis == "x" else {"x": alt.value("width")}
    place = {"align": "left", "dx": 4, "dy": 8} if axis == "x" else {"align": "right", "dy": -7}
    name = base.mark_text(color=color, **place).encode(text="label:N", **end)
    return [rule.encode(tooltip=tooltip(says="line")), name]


def bins_of(values: Mapping[str, "pd.Series[float]"]) -> pd.DataFrame:
    """Histograms as a table: of, low, high, queries, share_up_to ("90.0 %")."""
    rows: list[dict[str, Any]] = []
    for name, known in values.items():
        if known.empty:
            continue
        edges = bins(known)
        counts, _ = np.histogram(known, edges)
        shares = np.cumsum(counts) / len(known)
        digits = 1 if edges[-1] >= 100 else 3
        for low, high, count, share in zip(edges, edges[1:], counts, shares, strict=False):
            rows.append({"of": name, "low": round(float(low), digits),
                         "high": round(float(high), digits), "queries": int(count),
                         "share_up_to": percent(share, 1)})  # fmt: skip
    return pd.DataFrame(rows, columns=["of", "low", "high", "queries", "share_up_to"])


def stretch_of_time(name: str, chosen: Sequence[float] | None) -> alt.Parameter:
    """A stretch of the x axis that can be dragged; ``chosen`` at first."""
    value: Any = {"x": list(chosen)} if chosen else alt.Undefined
    mark = alt.BrushConfig(fill=GREY, fillOpacity=0.12)
    return alt.selection_interval(name=name, encodings=["x"], mark=mark, value=value)


def disturbed(stretches: pd.DataFrame, across: str) -> list[alt.Chart]:
    """Shaded times in which other programs used the machine; none without stretches.

    Args:
        stretches: of ``Test.disturbed``. across: the title of the panel's x axis.
    """
    if stretches.empty:
        return []
    rows = (
        stretches[["begin_s", "end_s"]]
        .round(2)
        .assign(says=[f"{percent(share)} of all cores" for share in stretches["share"]])
    )
    shade: alt.Chart = (
        alt.Chart(alt.InlineData(rows.to_dict("records")))
        .mark_rect(color=GREY, opacity=0.2, clip=True)
        .encode(
            x=alt.X("begin_s:Q", title=across), x2="end_s:Q", tooltip=tooltip(says="other programs")
        )
    )
    return [shade]


def ruler(base: alt.Chart, name: str, shown: list[alt.Tooltip]) -> alt.Chart:
    """A line that follows the pointer and shows the values there."""
    nearest = alt.selection_point(name=name, nearest=True, on="pointermove", fields=["time_s"],
                                  empty=False, clear="pointerout")  # fmt: skip
    line: alt.Chart = (
        base.mark_rule(color=GREY)
        .encode(
            x="time_s:Q",
            opacity=alt.condition(nearest, alt.value(1), alt.value(0)),
            tooltip=shown,
        )
        .add_params(nearest)
    )
    return line
