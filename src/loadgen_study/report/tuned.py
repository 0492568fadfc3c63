"""The report's sentences on what a tuning comes to."""

import shlex

import pandas as pd

from loadgen_study.report.text import plain
from loadgen_study.results.run import Run
from loadgen_study.runs.combined import TUNED, Outcome, outcome


def tuned_text(run: Run, tuning: pd.DataFrame) -> str:
    """What helped beyond noise, what it gave together, and how to run it; empty without one."""
    if tuning.empty:
        return ""
    found = outcome(run, tuning)
    if found.best is None:
        return f"**Nothing that was tried helped beyond noise**, so nothing is combined. {_noise()}"
    command = ""
    if (run.folder / TUNED).is_file():
        command = f" To run with it: `make report PARAMS={shlex.quote(run.named(TUNED))}`."
    return f"{_gains(found, tuning)} {_noise()}{command}"


def _gains(found: Outcome, tuning: pd.DataFrame) -> str:
    ratio = tuning["ratio"]
    listed = ", ".join(f"{plain(one)} ({ratio[one] - 1:+.1%})" for one in found.helped)
    said = f"**Helped beyond noise: {listed}.**"
    if len(found.helped) == 1:
        return f"{said} There is nothing to combine it with."
    if found.combined is None:
        return f"{said} Their combination was not measured."
    together = f"{said} Together they come to {ratio[found.combined] - 1:+.1%}"
    if found.best == found.combined:
        gain = ratio[found.combined] / ratio[found.helped[0]] - 1
        return f"{together}, {gain:+.1%} on the best of them alone."
    return f"{together}, less than {plain(found.helped[0])} alone, which is kept."


def _noise() -> str:
    return (
        "A value counts as help if it is faster than both measurements of the run as it is by more "
        "than these differ, if their intervals do not meet where there are any, and if it breaks "
        "no rule and no verdict that the run keeps."
    )
