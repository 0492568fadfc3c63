"""MLPerf's rules: those that the run breaks first."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.rules.rule import Rule, departures, unchecked, undecided
from loadgen_study.rules.rule import table as rules_table

LONG_MS = re.compile(r"(\d+)000 ms")  # 60000 ms


def text(rules: Sequence[Rule]) -> str:
    """How many rules are not met, undecided, not checked and met; empty without rules."""
    return render(
        "report/sections/rules",
        rules=len(rules),
        broken=len(departures(rules)),
        undecided=len(undecided(rules)),
        unchecked=len(unchecked(rules)),
    )


def tables(rules: Sequence[Rule]) -> list[pd.DataFrame]:
    """The rules that are not met or not known to be, then those that are met."""
    open_rules = [*departures(rules), *undecided(rules), *unchecked(rules)]
    return [
        _table("Not met or open", open_rules),
        _table("Met", [rule for rule in rules if rule.met]),
    ]


def _table(title: str, rules: Sequence[Rule]) -> pd.DataFrame:
    in_seconds = [
        replace(one, required=_in_seconds(one.required), actual=_in_seconds(one.actual))
        for one in rules
    ]
    frame = rules_table(in_seconds)
    if frame.empty:
        return frame
    frame["Status"] = frame["Status"].replace({"met": "✓", "not met": "✗ not met"})
    shown = frame.set_index("Rule").rename_axis(title)
    return shown.loc[:, (shown != "").any()]


def _in_seconds(text: str) -> str:
    """A text in which long times are in s: "600 s", but "2000 ms"."""
    return LONG_MS.sub(lambda one: f"{one[1]} s" if int(one[1]) >= 10 else one[0], text)
