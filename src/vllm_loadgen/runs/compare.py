"""Several runs side by side: figures with their intervals, differences, and what was changed."""

import math
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd
from pydantic import JsonValue, ValidationError, field_validator

from vllm_loadgen.analysis.intervals import mean_interval
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.facts.base import Facts
from vllm_loadgen.results.folders import find_file
from vllm_loadgen.results.run import Run
from vllm_loadgen.runs.costs import COSTS, costs

# An executed notebook carries its run's figures under this MIME type, shown by no front end.
MIME = "application/vnd.vllm-loadgen.run+json"
# Figure -> (how it is called, digits); the bigger the better of rates alone.
FIGURES = {
    "samples_per_s": ("Samples per second", 3),
    "tokens_per_s": ("Output tokens per second", 1),
    "ttft_ms": ("Mean TTFT, ms", 0),
    "tpot_ms": ("Mean TPOT, ms", 1),
    "latency_ms": ("Mean latency, ms", 0),
}


# A value with its 95 % interval; None for what is not known.
Figure = tuple[float | None, float | None, float | None]


class Digest(Facts):
    """What a comparison needs of a run, small enough to travel in a notebook.

    Attributes:
        name: of the run. params: its parameters. verdict: LoadGen's. rouge1: None if not scored.
        figures: by the names of ``FIGURES``, and of ``COSTS`` those that are known.
    """

    name: str
    params: dict[str, JsonValue]
    verdict: str | None
    rouge1: float | None
    figures: dict[str, Figure]

    @field_validator("params")
    @classmethod
    def _switches_are_bools(cls, params: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Notebooks of the first version have "on" and "off" for one of them."""
        given = params.get("chat_template")
        return params | {"chat_template": given == "on"} if given in ("on", "off") else params

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        shown = f"Figures of {self.name}, for comparison with other runs"
        return {MIME: self.model_dump(mode="json"), "text/plain": shown}


def digest(run: Run) -> Digest:
    """The performance test of a run in the form that is compared.

    Raises:
        ParameterError: if the run has none.
    """
    test = run.performance
    if test is None:
        cure = "give runs that perf.ipynb was run into"
        raise ParameterError("runs", str(run.folder), "has no performance test", cure)
    rate, tokens = test.metrics.samples_per_s, test.metrics.tokens_per_s
    low, high = test.tokens_per_s_interval
    # Of samples the same relative interval: answers are about as long in one window as the next.
    per_token = rate / tokens if tokens else math.nan
    figures = {
        "samples_per_s": _known(rate, low * per_token, high * per_token),
        "tokens_per_s": _known(tokens, low, high),
    }
    for name in ("ttft_ms", "tpot_ms", "latency_ms"):
        interval = mean_interval(test.latencies[name])
        figures[name] = _known(getattr(test.metrics, name).mean, *interval)
    found = costs(test, run.params.price_per_hour)
    figures |= {name: (value, None, None) for name, value in found.items()}
    return Digest(
        name=run.folder.name,
        params=run.params.model_dump(mode="json"),
        verdict=test.result.verdict,
        rouge1=run.accuracy.score.rouge1 if run.accuracy else None,
        figures=figures,
    )


def _known(value: float, low: float, high: float) -> Figure:
    # JSON has no NaN, and a notebook is JSON.
    value_, low_, high_ = (None if math.isnan(x) else x for x in (value, low, high))
    return value_, low_, high_


def read_digest(name: str) -> Digest:
    """A run by its folder, or by an executed notebook that someone sent.

    Raises:
        ParameterError: if it is neither.
    """
    path = Path(find_file(name))
    if path.suffix != ".ipynb":
        return digest(Run.open(path))
    try:
        outputs = [
            output.get("data") or {}
            for cell in nbformat.read(path, as_version=4).cells
            for output in cell.get("outputs") or []
        ]
    except (OSError, ValueError, AttributeError, TypeError, nbformat.ValidationError) as error:
        problem = f"cannot be read as a notebook ({type(error).__name__})"
        cure = "give folders of runs, or executed perf or analysis notebooks"
        raise ParameterError("runs", name, problem, cure) from None
    for output in outputs:
        if MIME in output:
            found = _received(output[MIME], name)
            return found.model_copy(update={"name": found.name or path.stem})
    cure = "execute perf.ipynb or analysis.ipynb and give that"
    raise ParameterError("runs", name, "holds no figures of a run", cure)


def _received(found: object, name: str) -> Digest:
    """The figures in a notebook; some front ends keep JSON as text."""
    try:
        if isinstance(found, str):
            return Digest.model_validate_json(found)
        return Digest.model_validate(found)
    except ValidationError:
        problem = "holds no figures that this version reads"
        cure = "execute its notebook again and give that"
        raise ParameterError("runs", name, problem, cure) from None


def figures_table(runs: Sequence[Digest]) -> pd.DataFrame:
    """Each figure of each run with its 95 % interval, and the difference from the first run.

    A difference is marked with * where the two intervals do not meet.
    """
    first = runs[0]
    columns: dict[str, dict[str, str]] = {}
    for place, run in enumerate(runs):
        column = columns[_heading(runs, place)] = {"LoadGen's verdict": run.verdict or "none"}
        for name, (title, digits) in FIGURES.items():
            column[title] = _with_interval(run.figures[name], digits)
            if place:
                column[title] += f" ({_difference(first.figures[name], run.figures[name])})"
        for name, title in COSTS.items():
            if any(name in one.figures for one in runs):
                column[title] = _with_interval(run.figures.get(name, (None, None, None)), 3)
        column["ROUGE-1"] = "not scored" if run.rouge1 is None else f"{run.rouge1:.2f}"
    return pd.DataFrame(columns).rename_axis("Figure")


def changed_table(runs: Sequence[Digest]) -> pd.DataFrame:
    """The parameters that are not the same in all runs; empty if all are."""
    names = [n for n in runs[0].params if any(r.params.get(n) != runs[0].params[n] for r in runs)]
    columns = {
        _heading(runs, place): {name: str(run.params.get(name, "unknown")) for name in names}
        for place, run in enumerate(runs)
    }
    return pd.DataFrame(columns).rename_axis("Parameter")


def _heading(runs: Sequence[Digest], place: int) -> str:
    name = runs[place].name
    return name if [run.name for run in runs].count(name) == 1 else f"{name} ({place + 1})"


def _with_interval(figure: Figure, digits: int) -> str:
    value, low, high = figure
    if value is None:
        return "n/a"
    if low is None or high is None:
        return f"{value:,.{digits}f}"
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def _difference(first: Figure, other: Figure) -> str:
    if not first[0] or other[0] is None:
        return "n/a"
    (_, low, high), (_, other_low, other_high) = first, other
    apart = False
    if low is not None and high is not None and other_low is not None and other_high is not None:
        apart = other_low > high or other_high < low
    return f"{other[0] / first[0] - 1:+.1%}{'*' if apart else ''}"
