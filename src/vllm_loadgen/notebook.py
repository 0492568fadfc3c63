"""What a notebook needs of the package besides the run itself: parameters in, tables out."""

import ast
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.params import RunParams
from vllm_loadgen.runs import Run

# How a notebook's own parameters cell begins, and how papermill's beneath it does.
OWN, INJECTED = "# Parameters of this notebook", "# Parameters\n"


def assigned_literals(source: str) -> dict[str, Any] | None:
    """Names and values of a cell that only assigns literals; None for any other cell."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None
    values = {}
    for statement in body:
        if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
            return None
        target = statement.targets[0]
        try:
            values[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError):
            return None
    return values


def given_values(cells: list[str], known: set[str]) -> dict[str, Any]:
    """The parameters that executed cells give: the parameters cell's, then what came over them.

    Papermill only warns of a name it does not know; here the name stays in the result, so that
    it can be refused. Variables of other cells are nobody's parameters.

    Args:
        cells: sources in order of execution.
        known: names that a later cell of plain assignments may set anew.

    Raises:
        BenchmarkError: if the parameters cell was not run, or holds more than literals.
    """
    starts = [place for place, source in enumerate(cells) if source.startswith(OWN)]
    if not starts:
        raise BenchmarkError("Run the notebook's parameters cell first.")
    merged = assigned_literals(cells[starts[-1]])
    if merged is None:
        raise BenchmarkError("The parameters cell may hold plain 'name = value' lines only.")
    for source in cells[starts[-1] + 1 :]:
        values = assigned_literals(source) or {}
        if source.startswith(INJECTED) or set(values) <= known:
            merged |= values
    return merged


def parameters() -> RunParams:
    """The parameters of the notebook that calls this, validated.

    Raises:
        ParameterError: for an unknown, misspelt or unusable parameter.
    """
    return RunParams.from_dict(given_values(_executed_cells(), set(RunParams.model_fields)))


def run_to_read() -> Run:
    """The run that the notebook's parameter ``run`` names; the newest if it is empty.

    Raises:
        ParameterError: for an unknown parameter, or a folder that holds no run.
    """
    values = given_values(_executed_cells(), {"run"})
    name = values.pop("run", "")
    outputs = values.get("outputs", RunParams().outputs)
    RunParams.from_dict(values)  # a file of parameters may be given; it must be a good one
    return Run.open(name) if name else Run.newest(outputs)


def table(frame: pd.DataFrame) -> HTML:
    """A frame as an HTML table: the index as an ordinary column, numbers to four decimals."""
    plain = frame.reset_index() if frame.index.name or frame.index.dtype == object else frame
    return HTML(plain.to_html(index=False, border=0, float_format=_number, na_rep=""))


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def _executed_cells() -> list[str]:
    return get_ipython().user_ns["In"]
