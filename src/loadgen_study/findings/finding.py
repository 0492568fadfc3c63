"""A finding: one thing that the data show, with its figures and one action."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

Severity = Literal["problem", "note", "good"]
SEVERITIES: tuple[Severity, ...] = ("problem", "note", "good")


@dataclass(frozen=True)
class Finding:
    """One thing that the data show.

    Attributes:
        title: what it is. evidence: the figures. action: what to do; may be empty.
        doubts: whether the test's figures cannot be trusted because of it.
        id: that of the function that made it, unless it has its own.
    """

    severity: Severity
    title: str
    evidence: str
    action: str
    doubts: bool = False
    id: str = ""


Found = tuple[str, str] | None  # evidence and action
Find = Callable[..., Finding | None]
# By id: what a finding needs, and the function that makes it of that.
FINDINGS: dict[str, tuple[tuple[str, ...], Find]] = {}


def finding(
    id: str,
    severity: Severity = "note",
    title: str = "",
    *,
    needs: tuple[str, ...] = ("queries",),
    doubts: bool = False,
) -> Callable[[Callable[..., Found | Finding]], Find]:
    """Register a function as the finding ``id``.

    It returns evidence and action, or a whole ``Finding`` where not all of one is known before; or
    None.

    Args:
        needs: what the function takes, by the names of ``collect.given_by``; it is called for runs
            that have all of it.

    Raises:
        ValueError: if the id is taken.
    """

    def register(function: Callable[..., Found | Finding]) -> Find:
        def find(*given: object) -> Finding | None:
            found = function(*given)
            if isinstance(found, tuple):
                return Finding(severity, title, *found, doubts, id)
            return found and replace(found, id=found.id or id)

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
