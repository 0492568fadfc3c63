"""LoadGen's verdict, and what it is worth."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from loadgen_study.results.test import Test
from loadgen_study.words import count
from vllm_loadgen.records.result import Verdict


@dataclass(frozen=True)
class Effective:
    """A verdict that takes account of what LoadGen only logs.

    Attributes:
        status: "NOT VALID" of a run that LoadGen calls VALID, or that did not reach its end.
        why: of a "NOT VALID", in a few words.
    """

    status: Literal[Verdict, "NO VERDICT", "NOT VALID"]
    why: str = ""

    @property
    def text(self) -> str:
        """The verdict and why."""
        return f"{self.status}: {self.why}" if self.why else self.status


def effective_verdict(test: Test) -> Effective:
    """LoadGen's verdict, but for a VALID of a faulty run.

    LoadGen prints VALID in spite of logged errors, of answers without tokens and of first tokens
    that never came (seen in runs of 6.0.17).
    """
    result = test.result
    if not result.complete:
        return Effective("NOT VALID", f"the run was {result.status}")
    if result.verdict != "VALID":
        return Effective(result.verdict or "NO VERDICT")
    if result.refused:
        return Effective("NOT VALID", f"the engine refused {count(result.refused, 'query')}")
    if result.num_errors:
        return Effective("NOT VALID", f"LoadGen logged {count(result.num_errors, 'error')}")
    faulty = faulty_answers(test.latencies)
    why = next((name for name, found in faulty.items() if found and name != "one token"), "")
    return Effective("NOT VALID" if why else "VALID", why)


def faulty_answers(latencies: pd.DataFrame) -> dict[str, list[int]]:
    """Sample indices by problem; the three do not overlap."""
    undone = latencies["done_s"].isna()
    tokens = latencies["output_tokens"]
    no_first = ~undone & (latencies["first_token_s"].isna() | (tokens == 0))
    short = ~undone & ~no_first & (tokens == 1)
    problems = {"no answer": undone, "no first token": no_first, "one token": short}
    return {name: latencies.loc[rows, "sample_index"].tolist() for name, rows in problems.items()}
