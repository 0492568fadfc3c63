"""One setting at a time: which of them helped beyond noise."""

import shlex

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.runs.tuning import BASELINES, TUNED, outcome


def text(tuning: pd.DataFrame) -> str:
    """The noise of a tuning and its fastest value; empty without one."""
    if tuning.empty:
        return ""
    rates = tuning["tokens_per_s"].dropna()
    baselines = rates[rates.index.isin(BASELINES)]
    if len(baselines) < 2:
        return render("report/sections/tuning", baselines=len(baselines))
    repeated = "runs" in tuning
    return render(
        "report/sections/tuning",
        baselines=len(baselines),
        runs=int(tuning["runs"].max()) if repeated else 1,
        cv=tuning["cv"][tuning.index.isin(BASELINES)].max() if repeated else None,
        drift=baselines.max() / baselines.min() - 1,
        best=rates.idxmax(),
        gain=tuning.loc[rates.idxmax(), "ratio"] - 1,
    )


def outcome_text(run: Run, tuning: pd.DataFrame) -> str:
    """What helped beyond noise, alone and together, and how to run it; empty without a tuning."""
    if tuning.empty:
        return ""
    found, gains = outcome(run, tuning), tuning["ratio"] - 1
    return render(
        "report/sections/tuned",
        found=found,
        helped=[(one, gains[one]) for one in found.helped],
        together=gains[found.combined] if found.combined else None,
        file=shlex.quote(run.display_path(TUNED)) if (run.folder / TUNED).is_file() else "",
    )
