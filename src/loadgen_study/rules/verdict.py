"""LoadGen's verdict, and what it is worth."""

from collections.abc import Sequence

import pandas as pd

from loadgen_study.results.test import Test
from loadgen_study.rules.rule import Rule, departures, reservation
from vllm_loadgen.words import count

MOST_LISTED = 10


def effective_verdict(test: Test) -> tuple[str, list[str]]:
    """LoadGen's verdict, unless it says VALID of a run that it logged errors of.

    LoadGen prints VALID in spite of logged errors, of answers without tokens and of first tokens
    that never came (seen in runs of 6.0.17).

    Returns:
        "VALID", "INVALID", "NO VERDICT" or "NOT VALID: ..." with the reason, and the reasons in
        full: LoadGen's own lines, its errors, or what is missing.
    """
    result = test.result
    if not result.complete:
        return f"NOT VALID: the run was {result.status}", ["LoadGen did not reach its end."]
    if result.verdict != "VALID":
        return result.verdict or "NO VERDICT", list(result.verdict_reasons)
    if result.refused:
        refused = f"the engine refused {count(result.refused, 'query')}"
        return f"NOT VALID: {refused}", list(result.refused_because)
    if result.num_errors:
        logged = count(result.num_errors, "error")
        return f"NOT VALID: LoadGen logged {logged}", list(result.error_lines)
    for problem, indices in faulty_answers(test.latencies).items():
        if indices and problem != "one token":
            return f"NOT VALID: {problem}", [f"{problem}: samples {listed(indices)}"]
    return "VALID", list(result.verdict_reasons)


def how_official(rules: Sequence[Rule]) -> str:
    """How official a run is, in a few words."""
    if departures(rules):
        return "unofficial run"
    but = f"; {found}" if (found := reservation(rules)) else ""
    return f"MLPerf's official settings{but}; not reviewed by MLCommons"


def faulty_answers(latencies: pd.DataFrame) -> dict[str, list[int]]:
    """Sample indices by problem; the three do not overlap."""
    undone = latencies["done_s"].isna()
    tokens = latencies["output_tokens"]
    no_first = ~undone & (latencies["first_token_s"].isna() | (tokens == 0))
    short = ~undone & ~no_first & (tokens == 1)
    problems = {"no answer": undone, "no first token": no_first, "one token": short}
    return {name: latencies.loc[rows, "sample_index"].tolist() for name, rows in problems.items()}


def listed(indices: Sequence[int]) -> str:
    """The first of some numbers, and how many more there are."""
    more = f" and {len(indices) - MOST_LISTED} more" if len(indices) > MOST_LISTED else ""
    return ", ".join(map(str, indices[:MOST_LISTED])) + more
