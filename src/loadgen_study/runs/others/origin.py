"""A result as it is compared: its figures, which tool measured them, and how.

How they were measured decides which of them may be compared.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from loadgen_study.analysis.intervals import mean_interval
from vllm_loadgen.records.base import Part

OWN = "vllm-loadgen"
# Open loop: queries by a schedule. Closed loop: a fixed number of them at once.
Load = Literal["open loop", "closed loop", "all at once"]
Scope = Literal["all", "waiting", "none"]
# Aspect -> the figures that must not be compared where it differs or is not known ("waiting": TTFT
# and latency), and its title.
ASPECTS: dict[str, tuple[Scope, str]] = {
    "model": ("all", "model"),
    "load": ("all", "load"),
    "input_tokens": ("all", "input length"),
    "output_tokens": ("all", "output length"),
    "latency_from": ("waiting", "start of TTFT"),
    "tokens_by": ("none", "token counter"),
    "warmed_up": ("none", "warm-up"),
}
LENGTHS = ("input_tokens", "output_tokens")
SAME_LENGTH = 0.02  # relative difference up to which mean lengths are the same

# Enough to draw a distribution; no percentile is read from them.
MOST_QUANTILES = 100

# A value with its 95 % interval; None for what is not known.
Figure = tuple[float | None, float | None, float | None]


class Origin(Part):
    """How a result was measured; None for what its files do not record.

    Attributes:
        tool, version: that measured it. model: its name in the result.
        data: the benchmark that prescribes the prompts, such as "MLPerf llama3.1-8b"; or empty.
        latency_from: the start of TTFT and latency: when a query was due, or when it was sent.
        tokens_by: who counted the output tokens.
        warmed_up: whether queries were sent before the clock started.
        input_tokens, output_tokens: mean over queries.
    """

    tool: str = OWN
    version: str | None = None
    model: str | None = None
    data: str = ""
    load: Load | None = None
    latency_from: Literal["due", "sent"] | None = None
    tokens_by: str | None = None
    warmed_up: bool | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None

    def rows(self) -> dict[str, str]:
        """The tool, and each aspect by its title, as text."""
        tool = f"{self.tool} {self.version or ''}".strip()
        values = {title: _shown(getattr(self, name)) for name, (_, title) in ASPECTS.items()}
        return {"tool": tool, **values}


class Compared(Part):
    """A result as it is compared: of another tool, or of an own run (``runs.compare.Digest``).

    Attributes:
        origin: whose tool measured it, and how.
        verdict: LoadGen's, if it made the test.
        figures: those that are known.
        quantiles: of each latency that is known, ascending (see ``quantiles``).
        reported: further figures as the tool states them, by name with unit: "TTFT p99, ms".
    """

    name: str
    origin: Origin = Origin()
    verdict: str | None
    figures: dict[str, Figure]
    quantiles: dict[str, tuple[float, ...]]
    reported: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """An aspect in which two results differ; not ``known``: one of them does not record it."""

    aspect: str
    known: bool

    @property
    def forbids(self) -> Scope:
        """The figures that may not be compared."""
        return ASPECTS[self.aspect][0]

    def __str__(self) -> str:
        return f"{'other' if self.known else 'unknown'} {ASPECTS[self.aspect][1]}"


def differences(first: Origin, other: Origin) -> list[Difference]:
    """The aspects in which two results differ, or may differ, in the order of ``ASPECTS``."""
    same_data = bool(first.data) and first.data == other.data
    found = []
    for aspect in ASPECTS:
        one, two = getattr(first, aspect), getattr(other, aspect)
        known = one is not None and two is not None
        if not (known and _same(aspect, one, two)) and not (same_data and aspect in LENGTHS):
            found.append(Difference(aspect, known))
    return found


def forbidden(first: Origin, other: Origin, scope: Scope) -> str:
    """The first reason why figures of this scope are not compared; or empty."""
    return next((str(one) for one in differences(first, other) if one.forbids == scope), "")


def _same(aspect: str, one: object, two: object) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= SAME_LENGTH * max(one, two)
    return _bare(str(one)) == _bare(str(two)) if aspect == "model" else one == two


def _bare(model: str) -> str:
    """A model's name in lower case, without owner and punctuation."""
    return re.sub(r"[^a-z0-9]", "", model.rpartition("/")[2].lower())


def _shown(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.1f} tokens" if isinstance(value, float) else str(value)


def from_files(
    name: str,
    origin: Origin,
    stated: Mapping[str, float | None],
    reported: dict[str, float],
    queries: pd.DataFrame | None = None,
    verdict: str | None = None,
) -> Compared:
    """Another tool's result, by the values that its files state and by their single queries.

    Args:
        stated: by figure. Where the files hold single queries, means with intervals replace them.
        queries: (queries,) in order of issue; ttft_ms, tpot_ms, latency_ms. None without them.
    """
    figures: dict[str, Figure] = {key: (value, None, None) for key, value in stated.items()}
    found = {}
    if queries is not None:
        for latency, values in queries.dropna(axis="columns", how="all").items():
            figures[str(latency)] = figure(float(values.mean()), *mean_interval(values))
            found[str(latency)] = quantiles(values)
    return Compared(
        name=name, origin=origin, verdict=verdict, figures=figures, quantiles=found,
        reported=reported,
    )  # fmt: skip


def figure(value: float, low: float, high: float) -> Figure:
    """A value with its interval, None for NaN."""
    return if_known(value), if_known(low), if_known(high)


def if_known(value: float) -> float | None:
    """A value, None for NaN."""
    return None if np.isnan(value) else value


def quantiles(values: "pd.Series[float]") -> tuple[float, ...]:
    """All values, ascending, or ``MOST_QUANTILES`` quantiles of them."""
    found = np.sort(values.dropna().to_numpy(float))
    if len(found) > MOST_QUANTILES:
        places = (np.arange(MOST_QUANTILES) + 0.5) / MOST_QUANTILES
        found = np.quantile(found, places, method="inverted_cdf")
    return tuple(float(f"{value:.5g}") for value in found)
