"""Several runs side by side: figures with their intervals, differences, and what was changed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from vllm_loadgen.analysis import metrics as analysis
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.results.folders import find_file
from vllm_loadgen.runs.live import Run

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


@dataclass(frozen=True)
class Digest:
    """What a comparison needs of a run, small enough to travel in a notebook.

    Attributes:
        name: of the run. params: its parameters. verdict: LoadGen's. rouge1: None if not scored.
        figures: by the names of ``FIGURES``, each (value, low, high) with its 95 % interval; None
            for what is not known.
    """

    name: str
    params: dict[str, Any]
    verdict: str
    rouge1: float | None
    figures: dict[str, tuple[float | None, ...]]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = f"Figures of {self.name}, for comparison with other runs"
        return {MIME: vars(self), "text/plain": shown}


def digest(run: Run) -> Digest:
    """The performance test of a run in the form that is compared.

    Raises:
        ParameterError: if the run has none.
    """
    if not run.has("performance"):
        cure = "give runs that perf.ipynb was run into"
        raise ParameterError("runs", str(run.folder), "has no performance test", cure)
    test = run.test("performance")
    latencies = analysis.latencies(test.records)
    rate, tokens = test.metrics["samples_per_s"], test.metrics["tokens_per_s"]
    low, high = analysis.tokens_per_s_interval(test.records)
    # Of samples the same relative interval: answers are about as long in one window as the next.
    per_token = rate / tokens if tokens else math.nan
    figures = {
        "samples_per_s": _known(rate, low * per_token, high * per_token),
        "tokens_per_s": _known(tokens, low, high),
    }
    for name in ("ttft_ms", "tpot_ms", "latency_ms"):
        interval = analysis.mean_interval(latencies[name])
        figures[name] = _known(test.metrics[name]["mean"], *interval)
    score = run.accuracy.get("score", {})
    return Digest(
        run.folder.name,
        run.params.model_dump(),
        test.result["verdict"],
        score.get("rouge1"),
        figures,
    )


def _known(*values: float) -> tuple[float | None, ...]:
    # JSON has no NaN, and a notebook is JSON.
    return tuple(None if math.isnan(value) else value for value in values)


def read_digest(name: str) -> Digest:
    """A run by its folder, or by an executed notebook that someone sent.

    Raises:
        ParameterError: if it is neither.
    """
    path = Path(find_file(name))
    if path.suffix != ".ipynb":
        return digest(Run.open(path))
    try:
        cells = nbformat.read(path, as_version=4).cells
    except (OSError, ValueError) as error:
        cure = "give folders of runs, or executed perf or analysis notebooks"
        raise ParameterError("runs", name, f"cannot be read: {error}", cure) from None
    for cell in cells:
        for output in cell.get("outputs", []):
            if MIME in output.get("data", {}):
                found = output["data"][MIME]
                found = json.loads(found) if isinstance(found, str) else found
                return Digest(**{**found, "name": found["name"] or path.stem})
    cure = "execute perf.ipynb or analysis.ipynb and give that"
    raise ParameterError("runs", name, "holds no figures of a run", cure)


def figures_table(runs: Sequence[Digest]) -> pd.DataFrame:
    """Each figure of each run with its 95 % interval, and the difference from the first run.

    A difference is marked with * where the two intervals do not meet.
    """
    first = runs[0]
    columns: dict[str, dict[str, str]] = {}
    for place, run in enumerate(runs):
        column = columns[_heading(runs, place)] = {"LoadGen's verdict": run.verdict}
        for name, (title, digits) in FIGURES.items():
            column[title] = _with_interval(run.figures[name], digits)
            if place:
                column[title] += f" ({_difference(first.figures[name], run.figures[name])})"
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


def _with_interval(figure: Sequence[float | None], digits: int) -> str:
    value, low, high = figure
    if value is None:
        return "n/a"
    if low is None:
        return f"{value:,.{digits}f}"
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def _difference(first: Sequence[float | None], other: Sequence[float | None]) -> str:
    if not first[0] or other[0] is None:
        return "n/a"
    known = None not in (*first, *other)
    apart = known and (other[1] > first[2] or other[2] < first[1])
    return f"{other[0] / first[0] - 1:+.1%}{'*' if apart else ''}"
