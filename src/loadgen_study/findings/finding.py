"""A finding: one thing that the data show, with its figures and one action."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import pandas as pd

Severity = Literal["problem", "note", "good"]
SEVERITIES: tuple[Severity, ...] = ("problem", "note", "good")


@dataclass(frozen=True)
class Finding:
    """One thing that the data show.

    Attributes:
        title: what it is. evidence: the figures. action: what to do; may be empty.
        doubts: whether the test's figures cannot be trusted because of it.
        overrides: ids of the findings whose actions would contradict this one's.
        id: that of the function that made it, unless it has its own.
    """

    severity: Severity
    title: str
    evidence: str
    action: str
    doubts: bool = False
    overrides: tuple[str, ...] = ()
    id: str = ""


Find = TypeVar("Find", bound=Callable[..., Finding | list[Finding] | None])
# By id: what a finding needs, and the function that makes it of that.
FINDINGS: dict[str, tuple[tuple[str, ...], Callable[..., Finding | list[Finding] | None]]] = {}


def finding(id: str, *, needs: tuple[str, ...]) -> Callable[[Find], Find]:
    """Register a function as the finding ``id``.

    Args:
        needs: what the function takes, by the names of ``collect.given_by``; it is called for runs
            that have all of it.

    Raises:
        ValueError: if the id is taken.
    """

    def register(find: Find) -> Find:
        if id in FINDINGS:
            raise ValueError(f"there is another finding {id}")
        FINDINGS[id] = needs, find
        return find

    return register


def table(findings: list[Finding]) -> pd.DataFrame:
    """Findings for display."""
    columns = {"severity": "Kind", "title": "Finding", "evidence": "Evidence", "action": "To do"}
    frame = pd.DataFrame([vars(found) for found in findings], columns=list(columns))
    return frame.rename(columns=columns)


def doubts(found: list[Finding]) -> list[str]:
    """Why the figures of a test cannot be trusted, a title each."""
    return [finding.title for finding in found if finding.doubts and finding.severity == "problem"]
