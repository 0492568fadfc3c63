"""Whose tool measured a result, and how: this decides which figures may be compared."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

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


class OtherResult(Part):
    """A result of another tool, as it is compared (see ``runs.compare.Digest``).

    Attributes:
        figures: those that its files hold.
        reported: further figures as the tool states them, by name with unit: "TTFT p99, ms".
    """

    name: str
    origin: Origin
    verdict: str | None = None
    figures: dict[str, Figure] = Field(default_factory=dict)
    quantiles: dict[str, tuple[float, ...]] = Field(default_factory=dict)
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


def without_intervals(values: Mapping[str, float | None]) -> dict[str, Figure]:
    """Figures of which only the value is known."""
    return {name: (value, None, None) for name, value in values.items()}


def _shown(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.1f} tokens" if isinstance(value, float) else str(value)
