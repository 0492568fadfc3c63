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
    """

    severity: Severity
    title: str
    evidence: str
    action: str


def by_severity(found: list[Finding]) -> list[Finding]:
    """Problems first, then notes, then what is good."""
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def table(findings: list[Finding]) -> pd.DataFrame:
    """Findings for display."""
    columns = {"severity": "", "title": "Finding", "evidence": "Evidence", "action": "Action"}
    return pd.DataFrame([vars(f) for f in findings], columns=list(columns)).rename(columns=columns)


def recommendations(found: list[Finding]) -> list[str]:
    """The actions of the problems, else of the notes, as sentences; findings may ask for none."""
    for severity in ("problem", "note"):
        if asked := [f for f in found if f.severity == severity and f.action]:
            return [f"{finding.title}: {finding.action}" for finding in asked]
    return ["Nothing: no finding of this run asks for a change."]
