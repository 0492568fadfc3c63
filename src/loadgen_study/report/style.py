"""One style for all figures: seaborn's colour-blind palette, thin lines, no ink but the data's.

What differs by colour differs in line or lightness too, so that it survives a grey printer.
"""

import io
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import figure as mpl_figure
from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PINK, RED = "#0173b2", "#de8f05", "#029e73", "#cc78bc", "#b2182b"
TITLE_PAD = 20  # points: room for the legend


# What a notebook calls a figure of Vega-Lite 5.
VEGALITE = "application/vnd.vegalite.v5+json"


class Figure(mpl_figure.Figure):
    """A figure that a notebook shows as it is, without pyplot keeping it.

    Attributes:
        chart: its interactive twin in Vega-Lite, if it has one (``interactive.with_chart``); the
            picture is shown where that cannot be drawn.
    """

    chart: dict[str, Any] | None = None

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {VEGALITE: self.chart} if self.chart else {}

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def figure(rows: int = 1, columns: int = 1, height: float = 3.4) -> tuple[Figure, np.ndarray]:
    """A figure with its axes, in the project's style."""
    with sns.axes_style("whitegrid", {"grid.color": "#e6e6e6", "axes.edgecolor": "#999999"}):
        fig = Figure(figsize=(9.5 if columns > 1 else 7.5, height * rows), layout="constrained")
        axes = fig.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        sns.despine(ax=axis)
    return fig, axes


def legend_above(axis: Axes) -> None:
    """The legend in one line between title and data, where it hides nothing."""
    axis.set_title(axis.get_title(), fontsize=10, pad=TITLE_PAD)
    axis.legend(
        fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.985),
        borderaxespad=0, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
