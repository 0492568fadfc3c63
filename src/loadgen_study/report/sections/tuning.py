"""What a tuning found: one setting at a time beyond noise, or the best of all by an objective."""

import shlex

import pandas as pd

from loadgen_study.analysis.repeats import spread
from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.runs.halving import OBJECTIVES, Race, race, race_table, serve_line
from loadgen_study.runs.settings import BASE
from loadgen_study.runs.tuning import BASELINES, TUNED, outcome, tune_table


def parts(run: Run) -> list[object]:
    """Table and text of a tuning as parts of a section; nothing to show without one."""
    if run.params.tune_objective in OBJECTIVES and (run.folder / "tune").is_dir():
        found = race(run)
        return [race_table(found), race_text(run, found)]
    table = tune_table(run)
    return [table, text(table), outcome_text(run, table)]


def race_text(run: Run, found: Race) -> str:
    """The best setting and how to run it, and how the others were judged."""
    params, of_base = run.params, found.figures.get(BASE, ())
    return render(
        "report/sections/race",
        objective=found.objective.title,
        best=found.best.title if found.best else None,
        helped=found.helped,
        alike=found.alike,
        tests=sum(len(one.tests) for one in found.settings),
        refused=[one.title for one in found.settings if one.refused],
        cv=spread(of_base).cv if len(of_base) > 1 else None,
        measured=len(params.tune_settings),
        combinations=params.combinations,
        scored=params.tune_accuracy,
        margin=found.margin,
        file=_file(run),
        line=serve_line(Run.open(found.best.folder)) if found.best and found.helped else "",
    )


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
        file=_file(run),
    )


def _file(run: Run) -> str:
    """The kept parameters as a word of a shell's line; empty where nothing helped."""
    return shlex.quote(run.display_path(TUNED)) if (run.folder / TUNED).is_file() else ""
