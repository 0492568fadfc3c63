"""The search for the highest VALID rate."""

from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.runs.peak import harness_limit, lowest_that_fails


def text(run: Run) -> str:
    """The highest VALID rate and the batch throughput; empty without a search."""
    if (peak := run.peak) is None:
        return ""
    return render(
        "report/sections/peak",
        peak=peak,
        fails=lowest_that_fails(run),
        harness=harness_limit(peak.probes),
    )
