"""A notebook's parameters: found by the shape of its cells, checked, and shown.

The parameters cell is the first that assigns plain values and does nothing else; papermill puts its
own such cell right beneath it. No comment and no tag is needed (a kernel does not see tags).
"""

import ast
from collections.abc import Sequence
from typing import Any

import pandas as pd
import yaml
from IPython import get_ipython
from IPython.display import HTML

from loadgen_study.params import NOT_KNOWN, RunParams, text_of
from loadgen_study.report.display import table
from loadgen_study.results.folders import note_outside
from loadgen_study.results.run import Run
from loadgen_study.runs.compare import Digest, check_distinct, digest, read_digest
from loadgen_study.runs.curve_points import NamedPoint, read_points
from loadgen_study.runs.others.formats import is_other
from vllm_loadgen.errors import BenchmarkError, ParameterError

# Parameters of analysis.ipynb alone.
READING = {"run", "runs"}
# Among runs: a file of points of curves.
POINTS = ".csv"
NOT_RUN = (
    "Run the notebook's parameters cell first. IPython keeps no cells of a notebook that %run "
    "executes: use JupyterLab, papermill, jupyter execute or jupyter nbconvert --execute."
)
# What the parser raises: NUL bytes and half characters are ValueErrors, and nesting has limits.
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)


def given_values(cells: Sequence[str], known: set[str]) -> dict[str, Any]:
    """The parameters that executed cells give: the parameters cell's, then what came over them.

    Papermill only warns of a name it does not know; here the name stays in the result, so that
    it can be refused. Variables of other cells are nobody's parameters.

    Args:
        cells: sources in order of execution.
        known: names that a later cell of plain values may set again.

    Raises:
        BenchmarkError: if the parameters cell was not run, or holds more than plain values.
    """
    own: set[str] = set()  # what the parameters cell sets
    merged: dict[str, Any] = {}
    follows = False  # the cell before was the parameters cell
    for source in cells:
        values = _plain_values(source, known)
        of_known = bool(set(values) & known)
        again = not follows and len(own & set(values)) > len(own) / 2
        if not values:
            follows = follows and not source.strip()
        elif again or (of_known and not own):
            own, merged, follows = own or set(values), values, True
        elif own and (follows or of_known):
            merged, follows = merged | values, False
    if not own:
        raise BenchmarkError(NOT_RUN)
    return merged


def _plain_values(source: str, known: set[str]) -> dict[str, Any]:
    """Names and values of a cell that assigns plain values and does nothing else; else empty.

    Raises:
        BenchmarkError: for a parameter that is given something else.
    """
    values: dict[str, Any] = {}
    for name, value in _assigned(source).items():
        try:
            match value:
                # What papermill writes for values that have no literal.
                case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as text)]):
                    values[name] = float(text)
                case _:
                    values[name] = ast.literal_eval(value)
        except (*NOT_PYTHON, TypeError):  # {[]: 1}
            if name not in known:
                return {}  # a calculation of the user's own
            raise BenchmarkError(
                f"The parameter {name} must be a plain value: a parameters cell holds "
                "'name = value' lines only."
            ) from None
    return values


def _assigned(source: str) -> dict[str, ast.expr]:
    """Names and expressions of a cell that does nothing but assign; empty for any other."""
    found = {}
    try:
        for statement in ast.parse(source).body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    found[name] = value
                case _:
                    return {}
    except NOT_PYTHON:
        return {}
    return found


def parameters() -> RunParams:
    """The parameters of the notebook that calls this, validated.

    Raises:
        ParameterError: for an unknown, misspelt or unusable parameter.
    """
    params = RunParams.from_dict(given_values(_executed_cells(), set(RunParams.model_fields)))
    _say_if_outside()
    return params


def _say_if_outside() -> None:
    if note := note_outside():
        print(note)


def parameters_table(params: RunParams) -> pd.DataFrame:
    """All parameters with their values and what they mean; those not at their default marked."""
    defaults = type(params)()
    rows = {}
    for name in params.names():
        value = getattr(params, name)
        rows[name] = {
            "value": NOT_KNOWN if name in params.unknown else value,
            "": "" if value == getattr(defaults, name) else "changed",
            "meaning": params.meaning(name),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("parameter")
    return frame.astype({"value": str})


def parameters_shown(params: RunParams) -> HTML:
    """The parameters that differ from their defaults; the others folded."""
    frame = parameters_table(params)
    changed = frame[""] == "changed"
    parts = [frame[changed], frame[~changed]]
    shown, others = (table(part.drop(columns="")).data for part in parts)
    title = f"The {(~changed).sum()} parameters at their defaults"
    folded = f"<details><summary>{title}</summary>{others}</details>"
    return HTML((shown if changed.any() else "") + folded)


def run_to_read() -> Run:
    """The run that the parameter ``run`` names, else the first of ``runs``, else the newest.

    Raises:
        ParameterError: for an unknown parameter, or a folder that holds no run.
    """
    values = given_values(_executed_cells(), READING)
    name = text_of("run", values.pop("run", ""))
    others = _names(values.pop("runs", []))
    outputs = RunParams.from_dict(values).outputs  # a parameters file may be given as well
    _say_if_outside()
    left_out = (".ipynb", POINTS)
    own = (one for one in others if not one.endswith(left_out) and not is_other(one))
    name = name or next(own, "")
    return Run.open(name) if name else Run.newest(outputs)


def runs_to_compare(run: Run) -> list[Digest]:
    """The runs that the notebook's parameter ``runs`` names; a single one is compared with ``run``.

    Raises:
        ParameterError: if one of them is not a run, or is compared with itself.
    """
    found = [read_digest(name) for name in _compared() if not name.endswith(POINTS)]
    found = [digest(run), *found] if len(found) == 1 else found
    check_distinct(found)
    return found


def curves_to_compare() -> list[NamedPoint]:
    """The points in the CSV files that the notebook's parameter ``runs`` names.

    Raises:
        ParameterError: if one of them cannot be read, naming row and column.
    """
    files = [name for name in _compared() if name.endswith(POINTS)]
    return [point for name in files for point in read_points(name)]


def _compared() -> list[str]:
    return _names(given_values(_executed_cells(), READING).get("runs", []))


def _names(value: object) -> list[str]:
    """A list of names; papermill's -p gives it as text, whose items are read as text as well."""
    try:
        is_text = isinstance(value, str) and value
        found = yaml.load(value, yaml.BaseLoader) if is_text else value or []
    except (yaml.YAMLError, ValueError, RecursionError):
        found = None
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return found
    cure = "give a list, as in '[outputs/one, outputs/other]'"
    raise ParameterError("runs", value, "is no list of folders or notebooks", cure)


def _executed_cells() -> list[str]:
    shell: Any = get_ipython()
    cells: list[str] = shell.user_ns["In"]
    return cells
