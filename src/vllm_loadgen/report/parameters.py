"""What a notebook needs of the package besides the run itself: parameters in, tables out."""

import ast
from typing import Any

import pandas as pd
import yaml
from IPython import get_ipython
from IPython.display import HTML

from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.params import RunParams
from vllm_loadgen.runs.compare import Digest, digest, read_digest
from vllm_loadgen.runs.live import Run

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
    """The run that the notebook's parameter ``run`` names, else the first of ``runs``, else the
    newest.

    Raises:
        ParameterError: for an unknown parameter, or a folder that holds no run.
    """
    values = given_values(_executed_cells(), {"run", "runs"})
    name = values.pop("run", "")
    others = values.pop("runs", [])
    outputs = values.get("outputs", RunParams().outputs)
    RunParams.from_dict(values)  # a file of parameters may be given; it must be a good one
    folders = [other for other in _as_list(others) if not other.endswith(".ipynb")]
    name = name or next(iter(folders), "")
    return Run.open(name) if name else Run.newest(outputs)


def runs_to_compare(run: Run) -> list[Digest]:
    """The runs that the notebook's parameter ``runs`` names; a single one is set beside ``run``.

    Raises:
        ParameterError: if one of them is no run.
    """
    names = _as_list(given_values(_executed_cells(), {"run", "runs"}).get("runs", []))
    found = [read_digest(name) for name in names]
    return [digest(run), *found] if len(found) == 1 else found


def _as_list(value: Any) -> list[str]:
    """A list of names; papermill's -p gives it as text."""
    value = yaml.safe_load(value) if isinstance(value, str) and value else value or []
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    cure = "give a list, as in '[outputs/one, outputs/other]'"
    raise ParameterError("runs", value, "is no list of folders or notebooks", cure)


def table(frame: pd.DataFrame) -> HTML:
    """A frame as an HTML table: the index as an ordinary column, numbers to four decimals."""
    plain = frame.reset_index() if frame.index.name or frame.index.dtype == object else frame
    html = plain.to_html(index=False, border=0, float_format=_number, na_rep="", justify="left")
    # JupyterLab would set all cells to the right, and most of ours are text.
    return HTML(html.replace("<td>", '<td style="text-align: left">'))


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def _executed_cells() -> list[str]:
    return get_ipython().user_ns["In"]
