"""``vllm-loadgen history``: a folder of runs as one static page, a section for each history."""

import base64
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode

from loadgen_study.analysis.change_points import FEWEST_RUNS, LEVEL
from loadgen_study.prose import render
from loadgen_study.report.display import spoken, table
from loadgen_study.report.figures.base import VEGALITE, Figure
from loadgen_study.report.figures.history import history_figure
from loadgen_study.report.make import as_page
from loadgen_study.runs.history import METRICS, Change, History, read_histories
from loadgen_study.words import change as say_change
from vllm_loadgen.files import write_text

TEMPLATE = "report/history"


def make_history(folder: str, out: Path) -> Path:
    """Write the page of a folder's runs; returns its path.

    Raises:
        ParameterError: if the folder holds no run with a finished performance test.
        BenchmarkError: if the page cannot be written.
    """
    histories, left_out = read_histories(folder)
    parts: list[object] = [
        render(TEMPLATE, part="head", histories=histories, left_out=left_out, level=LEVEL)
    ]
    for history in histories:
        parts += section(history)
    outputs = [_output(part, before) for before, part in pairwise(["", *parts])]
    cells = [nbformat.v4.new_code_cell("", outputs=[output]) for output in outputs]
    write_text(out, as_page(nbformat.v4.new_notebook(cells=cells)))
    return out


def section(history: History) -> list[object]:
    """Sentences, figure and tables of one history; a single run has no figure."""
    changes = history.changes()
    said = render(TEMPLATE, part="history", history=history, changes=len(changes),
                  fewest=FEWEST_RUNS)  # fmt: skip
    if len(history.entries) == 1:
        return [said]
    tables = [changes_table(history, changes), history.replaced()]
    shown = [table(one.set_index(one.columns[0])) for one in tables if len(one)]
    return [said, history_figure(history), *shown]


def changes_table(history: History, changes: list[Change]) -> pd.DataFrame:
    """Each change of level, with its 95 % interval by Welch's test."""
    rows = [
        {
            "metric": METRICS[one.metric],
            "from run": history.number(one.at),
            "name": one.at.digest.name,
            "date": one.at.date,
            "decision": one.decision.outcome,
            "change": say_change(one.decision.change),
            "95 % from": say_change(one.decision.low),
            "95 % to": say_change(one.decision.high),
        }
        for one in changes
    ]
    return pd.DataFrame(rows)


def _output(part: object, before: object) -> NotebookNode:
    """A part as a notebook's cell would have it; a picture is read out as the text before it."""
    if isinstance(part, str):
        data: dict[str, object] = {"text/markdown": part}
    elif isinstance(part, Figure):
        picture = base64.b64encode(part._repr_png_()).decode()
        data = {VEGALITE: part.chart, "image/png": picture}
    else:
        data = {"text/html": part.data}  # type: ignore[attr-defined]
    said = {"image/png": {"alt": spoken(str(before))}} if isinstance(part, Figure) else {}
    output: NotebookNode = nbformat.v4.new_output("display_data", data, metadata=said)
    return output
