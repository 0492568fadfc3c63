"""What a notebook needs of the package besides the run itself: its parameters."""

import ast
from typing import Any

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.params import ALIASES, RunParams

# A cell with so many known parameters is the parameters cell.
PARAMETERS_CELL = 3


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


def given_values(cells: list[str]) -> dict[str, Any]:
    """The parameters that executed cells give: the parameters cell's, then papermill's over them.

    Papermill only warns of a name it does not know; here the name stays in the result, so that
    ``RunParams`` refuses it. Variables of other cells are nobody's parameters.

    Args:
        cells: sources in order of execution.

    Raises:
        BenchmarkError: if no parameters cell was run.
    """
    known = set(RunParams.model_fields) | set(ALIASES) | {"run", "runs"}
    found: list[dict[str, Any]] = []
    for source in reversed(cells):
        values = assigned_literals(source)
        if values is None:
            continue
        injected = source.lstrip().startswith("# Parameters")
        if injected or set(values) & known:
            found.append(values)
        if not injected and len(set(values) & known) >= PARAMETERS_CELL:
            break
    else:
        raise BenchmarkError("Run the notebook's parameters cell first.")
    merged: dict[str, Any] = {}
    for values in reversed(found):
        merged |= values
    return merged


def parameters() -> RunParams:
    """The parameters of the notebook that calls this, validated.

    Raises:
        ParameterError: for an unknown, misspelt or unusable parameter.
    """
    from IPython import get_ipython

    return RunParams.from_dict(given_values(get_ipython().user_ns["In"]))
