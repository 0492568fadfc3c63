"""A finding: one thing that the data show, with its figures and one action."""

from dataclasses import dataclass
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
    """

    severity: Severity
    title: str
    evidence: str
    action: str
    doubts: bool = False


def by_severity(found: list[Finding]) -> list[Finding]:
    """Problems first, then notes, then what is good."""
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def table(findings: list[Finding]) -> pd.DataFrame:
    """Findings for display."""
    columns = {"severity": "Kind", "title": "Finding", "evidence": "Evidence", "action": "To do"}
    frame = pd.DataFrame([vars(found) for found in findings], columns=list(columns))
    return frame.rename(columns=columns)


def doubts(found: list[Finding]) -> list[str]:
    """Why the figures of a test cannot be trusted, a title each."""
    return [finding.title for finding in found if finding.doubts and finding.severity == "problem"]
