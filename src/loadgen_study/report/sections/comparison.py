"""This run compared with other runs."""

from collections.abc import Iterator, Sequence

from loadgen_study.prose import render
from loadgen_study.runs.compare import Digest, heading, reservations
from loadgen_study.runs.others.origin import differences


def text(runs: Sequence[Digest]) -> str:
    """How to read ``runs.compare.figures_table``, and what it cannot say."""
    return render(
        "report/sections/comparison",
        single=any(run.runs == 1 and not run.of_other_tool for run in runs),
        repeated=any(run.runs > 1 for run in runs),
        reservations=reservations(runs),
        others=list(_others(runs)),
        foreign=any(run.of_other_tool for run in runs),
    )


def _others(runs: Sequence[Digest]) -> Iterator[dict[str, object]]:
    """The pairs with a result of another tool, and the reasons not to compare them."""
    first = runs[0]
    for place, run in enumerate(runs[1:], 1):
        if first.of_other_tool or run.of_other_tool:
            found = differences(first.origin, run.origin)
            by = {scope: [str(one) for one in found if one.forbids == scope]
                  for scope in ("all", "waiting", "none")}  # fmt: skip
            names = {"name": heading(runs, place), "first": heading(runs, 0)}
            yield {**names, **by, "tools": (first.origin.tool, run.origin.tool)}
