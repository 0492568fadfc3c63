"""Several runs side by side: figures with their intervals, differences, and all that differs.

What a comparison needs of a run, its digest, travels in the run's notebooks.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import ConfigDict, Field, JsonValue, ValidationError, field_validator

from loadgen_study.analysis.intervals import mean_interval
from loadgen_study.analysis.repeats import spread
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.params import NOT_KNOWN, RunParams
from loadgen_study.results.folders import find_file, portable
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.conditions import Conditions, conditions_of
from loadgen_study.runs.costs import COSTS, costs
from loadgen_study.runs.curve_points import CurvePoint, points_of
from loadgen_study.runs.others import loadgen_logs
from loadgen_study.runs.others.formats import is_other, read_other
from loadgen_study.runs.others.origin import (
    Compared,
    Figure,
    Load,
    Origin,
    figure,
    forbidden,
    if_known,
    quantiles,
)
from loadgen_study.scorers.scorer import Metric
from loadgen_study.words import change
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.records.base import Facts
from vllm_loadgen.traits import VLLM, engines

# An executed notebook carries its run's figures under this MIME type, shown by no front end.
MIME = "application/vnd.vllm-loadgen.run+json"
# Figure -> (title, digits). Of the rates more is better, of the latencies less.
FIGURES = {
    "samples_per_s": ("Queries answered per second", 3),
    "tokens_per_s": ("Output tokens per second", 1),
    "ttft_ms": ("Mean TTFT, ms", 0),
    "tpot_ms": ("Mean TPOT, ms", 1),
    "latency_ms": ("Mean latency, ms", 0),
}
LATENCIES = ("ttft_ms", "tpot_ms", "latency_ms")
NOTHING: Figure = (None, None, None)


class Digest(Facts, Compared):
    """What a comparison needs of a run, small enough to be part of a notebook.

    Of several runs of the test, verdict and quantiles are of the median one.

    Attributes:
        figures: all of ``FIGURES``: of one run with the interval of its own queries, of several
            their mean with the interval between them; of ``COSTS`` those that are known.
        params: the run's. runs: how often the test was made.
        conditions: under which it was made; None of another tool's result.
        curve: its tests at fixed concurrency.
    """

    model_config = ConfigDict(extra="allow")

    params: dict[str, JsonValue]
    runs: int = 1
    conditions: Conditions | None
    curve: tuple[CurvePoint, ...] = ()
    # The main metric's figure, by its name; None if not scored, or not scorable.
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)
    # Where the run was read from; not sent with it.
    folder: Path | None = Field(None, exclude=True)

    @field_validator("figures")
    @classmethod
    def _are_whole(cls, figures: dict[str, Figure]) -> dict[str, Figure]:
        if lacking := FIGURES.keys() - figures.keys():
            raise ValueError(f"without {', '.join(sorted(lacking))}")
        return figures

    @property
    def of_other_tool(self) -> bool:
        """Whether another tool measured it."""
        return self.conditions is None

    @property
    def metric(self) -> Metric:
        """What the answers are scored by; of a benchmark that is not known the default's."""
        default = RunParams.model_fields["benchmark"].default
        named = BENCHMARKS.get(str(self.params.get("benchmark")), BENCHMARKS[default])
        return named.task.scorer.main

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
        raise ParameterError("runs", run.display_path(), "has no performance test", cure)
    runs = list(run.repeats("performance").values())
    # Of dtype what "auto" meant on that machine.
    params = run.params.known() | ({"dtype": run.model.dtype} if run.model.dtype else {})
    scorer, accuracy = run.task.scorer, run.accuracy
    scores = loadgen_logs.scores(scorer.printed(accuracy.score)) if accuracy else {}
    return Digest(
        name=run.folder.name,
        params={k: _portable(value) for k, value in params.items()},
        verdict=test.result.verdict,
        figures=_between(runs) if len(runs) > 1 else _within(test),
        runs=max(1, len(runs)),
        conditions=conditions_of(run),
        quantiles={name: quantiles(test.latencies[name]) for name in LATENCIES},
        curve=points_of(run),
        origin=_origin(run, test),
        reported=loadgen_logs.reported(test.result.loadgen_results.__pydantic_extra__) | scores,
        folder=run.folder,
        **{scorer.main.name: run.score},
    )


def _origin(run: Run, test: Test) -> Origin:
    traits = test.result.scenario_traits
    load: Load = "closed loop"
    if test.params.concurrency is None and not traits.one_by_one:
        load = "open loop" if traits.scheduled else "all at once"
    return Origin(
        model=run.model.name,
        load=load,
        latency_from="due",
        tokens_by="the system under test",
        warmed_up=test.result.warmup_queries > 0,
        input_tokens=if_known(float(test.latencies["input_tokens"].mean())),
        output_tokens=if_known(test.metrics.output_tokens.mean),
    )


def _portable(value: JsonValue) -> JsonValue:
    """A parameter without paths that say whose machine it was."""
    if isinstance(value, str):
        return portable(value)
    if isinstance(value, list):
        return [_portable(one) for one in value]
    return {k: _portable(v) for k, v in value.items()} if isinstance(value, dict) else value


def _within(test: Test) -> dict[str, Figure]:
    rate, tokens = test.metrics.samples_per_s, test.metrics.tokens_per_s
    low, high = test.tokens_per_s_interval
    # Of samples the same relative interval: answers are about as long in one window as the next.
    per_token = rate / tokens if tokens else math.nan
    figures = {
        "samples_per_s": figure(rate, low * per_token, high * per_token),
        "tokens_per_s": figure(tokens, low, high),
    }
    for name in LATENCIES:
        interval = mean_interval(test.latencies[name])
        figures[name] = figure(getattr(test.metrics, name).mean, *interval)
    found = costs(test, test.params.price_per_hour)
    figures |= {name: (value, None, None) for name, value in found.items()}
    return figures


def _between(runs: Sequence[Test]) -> dict[str, Figure]:
    figures = {}
    for name in FIGURES:
        found = [getattr(run.metrics, name) for run in runs]
        over = spread([one.mean if name in LATENCIES else one for one in found])
        figures[name] = figure(over.mean, over.low, over.high)
    return figures


def read_digest(name: str) -> Digest:
    """A run by its folder, or by a zip or an executed notebook that someone sent; or another
    tool's result (see ``others.formats``).

    Raises:
        ParameterError: if it is none of these.
    """
    if is_other(name):
        result = read_other(name)
        figures = dict.fromkeys(FIGURES, NOTHING) | result.figures
        known = {**dict(result), "figures": figures, "params": {}, "conditions": None}
        return Digest.model_validate(known)
    path = Path(find_file(name))
    return _sent(path, name) if path.suffix == ".ipynb" else digest(Run.open(path))


def _sent(path: Path, name: str) -> Digest:
    """The digest in an executed notebook, without the folder, which is on its sender's machine."""
    import nbformat  # takes a second to import

    try:
        cells = nbformat.read(path, as_version=4).cells
        outputs = [output.get("data") for cell in cells for output in cell.get("outputs") or []]
    except Exception as error:  # of many types: the file may hold anything
        problem = f"cannot be read as a notebook ({type(error).__name__})"
        cure = "give folders or zips of runs, or executed perf or analysis notebooks"
        raise ParameterError("runs", name, problem, cure) from None
    sent = [data[MIME] for data in outputs if isinstance(data, dict) and MIME in data]
    if not sent:
        cure = "execute perf.ipynb or analysis.ipynb and give that"
        raise ParameterError("runs", name, "holds no figures of a run", cure)
    try:
        is_text = isinstance(sent[0], str)  # some front ends keep JSON as text
        found = (Digest.model_validate_json if is_text else Digest.model_validate)(sent[0])
    except ValidationError:
        problem = "holds no figures that this version reads"
        cure = "execute its notebook again and give that"
        raise ParameterError("runs", name, problem, cure) from None
    return found.model_copy(update={"name": found.name or path.stem, "folder": None})


def check_distinct(runs: Sequence[Digest]) -> None:
    """Refuse to compare a run with itself, whether its folder or its notebook was given.

    Raises:
        ParameterError: naming the run.
    """
    seen: list[list[float]] = []
    for run in runs:
        found = [run.figures[name][0] for name in FIGURES]
        values = [float(f"{value:.9g}") for value in found if value is not None]
        if values and values in seen:  # no two runs share all their figures
            problem = "is compared with itself: a run has no difference from itself"
            raise ParameterError("runs", run.name, problem, "give two runs or more")
        seen.append(values)


def obstacle(first: Digest, other: Digest) -> str:
    """Why two runs' figures cannot be compared: "other model", "other data", "other prompts", and
    of another tool's result what ``others.origin`` says; or nothing.

    Other weights of the same shape do not prevent it: how much faster a quantized model is, and how
    much worse, is a question.
    """
    one, two = first.conditions, other.conditions
    if one is None or two is None:
        return forbidden(first.origin, other.origin, "all")
    if one.shape != two.shape:
        return "other model"
    if _differ(first, other, RunParams.names("answers")):
        return "other data"
    if one.prompts_sha256 == two.prompts_sha256:
        return ""
    same_data = (one.data_checksum, one.samples) == (two.data_checksum, two.samples)
    return "other prompts" if same_data else "other data"


def _differ(first: Digest, other: Digest, names: Sequence[str]) -> bool:
    """Whether a parameter differs that both record."""
    return any(
        first.params[name] != other.params[name]
        for name in names
        if name in first.params and name in other.params
    )


def not_compared(first: Digest, other: Digest, name: str) -> str:
    """Why this figure of two runs is not compared; or nothing.

    Args:
        name: of ``FIGURES``.
    """
    if found := obstacle(first, other):
        return found
    # Where all is due at 0 s, waiting is the length of the test.
    waits = name in ("ttft_ms", "latency_ms")
    if first.of_other_tool or other.of_other_tool:
        return forbidden(first.origin, other.origin, "waiting") if waits else ""
    return "other scenario" if waits and _differ(first, other, ["scenario"]) else ""


def reservations(runs: Sequence[Digest]) -> list[str]:
    """The limits of a comparison of own runs, a sentence each; text from files is not escaped."""
    first, first_name, found = runs[0], heading(runs, 0), []
    for place, run in enumerate(runs[1:], 1):
        name = heading(runs, place)
        if first.of_other_tool or run.of_other_tool:
            continue  # see origins_table
        if why := obstacle(first, run):
            found.append(f"{name} is of {why} than {first_name}: their figures are not compared.")
        elif _differ(first, run, ["scenario"]):
            found.append(f"{name} is of another scenario: TTFT and latency are not compared.")
    return found


def figures_table(runs: Sequence[Digest]) -> pd.DataFrame:
    """Each figure of each run with its 95 % interval, and the difference from the first run.

    A difference is marked with * where the two intervals do not meet. There is none where the two
    may not be compared (``obstacle``).
    """
    first = runs[0]
    columns: dict[str, dict[str, str]] = {}
    for place, run in enumerate(runs):
        column = columns[heading(runs, place)] = {"LoadGen's verdict": run.verdict or "none"}
        column["Runs"] = str(run.runs)
        for name, (title, digits) in FIGURES.items():
            column[title] = _with_interval(run.figures[name], digits)
            if place:
                why = not_compared(first, run, name)
                column[title] += f" ({why or _difference(first.figures[name], run.figures[name])})"
        for name, title in COSTS.items():
            if any(name in one.figures for one in runs):
                column[title] = _with_interval(run.figures.get(name, NOTHING), 3)
        if any(one.of_other_tool for one in runs):
            for title in dict.fromkeys(title for one in runs for title in one.reported):
                value = run.reported.get(title)
                stated = f"{title}, as reported"
                column[stated] = "n/a" if value is None else f"{value:,.3f}"
        for metric in dict.fromkeys(one.metric for one in runs):
            score = run.__pydantic_extra__.get(metric.name)
            scored = isinstance(score, int | float)
            column[metric.title] = f"{score:.2f}" if scored else "not scored"
    return pd.DataFrame(columns).rename_axis("Figure")


def changed_table(runs: Sequence[Digest]) -> pd.DataFrame:
    """All that is recorded and not the same in all runs: parameters, machine, versions, model,
    data and departures; empty if all is the same.
    """
    found = [run.conditions for run in runs if run.conditions]
    places = RunParams.names("place")  # the same run elsewhere does not differ
    columns = {
        heading(runs, place): {name: _shown(run, name) for name in run.params if name not in places}
        | (run.conditions.rows(found) if run.conditions else {})
        for place, run in enumerate(runs)
    }
    table = pd.DataFrame(columns).rename_axis("What differs")
    # What one run records and another does not is not a difference.
    return table[table.nunique(axis="columns") > 1].fillna("not recorded")


def origins_table(runs: Sequence[Digest]) -> pd.DataFrame:
    """How each result was measured, where another tool measured one of them; empty otherwise."""
    if not any(run.of_other_tool for run in runs):
        return pd.DataFrame()
    rows = {heading(runs, place): run.origin.rows() for place, run in enumerate(runs)}
    return pd.DataFrame(rows).rename_axis("Measured by")


def _shown(run: Digest, name: str) -> str:
    """A parameter as text; those of a server that was running before are not known."""
    traits = engines().get(str(run.params.get("engine")), VLLM)
    known = traits.started_here or name not in RunParams.names("server")
    return str(run.params[name]) if known else NOT_KNOWN


def heading(runs: Sequence[Digest], place: int) -> str:
    """What a run is called in a comparison: its name, with its place where two share it."""
    name = runs[place].name
    return name if [run.name for run in runs].count(name) == 1 else f"{name} ({place + 1})"


def _with_interval(found: Figure, digits: int) -> str:
    value, low, high = found
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
    return change(other[0] / first[0] - 1) + ("*" if apart else "")
