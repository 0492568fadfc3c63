"""This run compared with other runs."""

from collections.abc import Sequence

from loadgen_study.prose import render
from loadgen_study.runs.compare import Digest, reservations


def text(runs: Sequence[Digest]) -> str:
    """How to read ``runs.compare.figures_table``, and what it cannot say; empty without runs."""
    if not runs:
        return ""
    return render(
        "report/sections/comparison",
        single=any(run.runs == 1 for run in runs),
        repeated=any(run.runs > 1 for run in runs),
        reservations=reservations(runs),
    )
