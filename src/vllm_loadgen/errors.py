"""The error types a user meets: one line that names what is wrong and the cure."""

from typing import Any


class BenchmarkError(Exception):
    """Something a user can act on; shown as one line, in a notebook too."""

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: a notebook, and so a report, shows the line and no stack."""
        return [f"{type(self).__name__}: {self}"]


class ParameterError(BenchmarkError):
    """A parameter has a value that cannot be used.

    Args:
        parameter: the parameter's name, as papermill's ``-p`` takes it.
        value: what was given.
        problem: what is wrong with it.
        cure: what to give instead.
    """

    def __init__(self, parameter: str, value: Any, problem: str, cure: str) -> None:
        cure = f"{cure[:1].upper()}{cure[1:]}".removesuffix(".")
        end = "" if cure.endswith("?") else "."
        super().__init__(f"{parameter} = {value!r}: {problem}. {cure}{end}")
        self.parameter = parameter
        self.value = value


class EngineError(BenchmarkError):
    """The engine could not be started, or died during a run."""
