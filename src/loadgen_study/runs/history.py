"""Runs of the same test over time: figures, changes of level, changes of conditions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from loadgen_study.analysis.change_points import change_points
from loadgen_study.analysis.decision import Decision, decide
from loadgen_study.analysis.repeats import spread
from loadgen_study.results.bundles import SUFFIX
from loadgen_study.results.folders import find_file
from loadgen_study.results.run import Run
from loadgen_study.runs.compare import Digest, changed_table, digest
from loadgen_study.runs.gate import FIGURES, SCORE
from vllm_loadgen.errors import BenchmarkError, ParameterError

# The title of each of the gate's metrics.
METRICS = {
    "tokens_per_s": "Output tokens/s",
    "ttft_p90": "TTFT p90, ms",
    "tpot_p90": "TPOT p90, ms",
    SCORE: "Score",
}
# These differ between most runs, and have a column of their own.
COMMIT = ("commit of this program", "changed since the commit")
SHA_SHOWN = 8
CURE = "give the folder of runs, such as outputs"


@dataclass(frozen=True)
class Entry:
    """One run: its date, and each known metric with a value for each repeat."""

    digest: Digest
    date: str
    values: dict[str, list[float]]


@dataclass(frozen=True)
class Change:
    """A change of a metric's level.

    Attributes:
        at: the first run of the new level. decision: the new level compared with the one before.
    """

    metric: str
    at: Entry
    decision: Decision


@dataclass(frozen=True)
class History:
    """Runs of the same model, data and scenario, in order of time."""

    name: str
    entries: tuple[Entry, ...]

    def series(self, metric: str) -> tuple[list[Entry], list[float]]:
        """The runs that have a metric, and the mean of each over its repeats."""
        held = [entry for entry in self.entries if entry.values.get(metric)]
        return held, [spread(entry.values[metric]).mean for entry in held]

    def number(self, entry: Entry) -> int:
        """The place of a run, from 1."""
        return self.entries.index(entry) + 1

    def points(self) -> pd.DataFrame:
        """Each metric of each run.

        Returns:
            (points,) metric, title, run, name, date, commit, value; low, high: 95 % interval
            between a run's repeats; level, next_low, next_high: the mean of the runs of the same
            level, and where one more of them is expected (see ``analysis.repeats``). NaN: not
            known.
        """
        return pd.DataFrame([row for metric in METRICS for row in self._points(metric)])

    def _points(self, metric: str) -> Iterator[dict[str, object]]:
        held, values = self.series(metric)
        for begin, end in _levels(values):
            level = spread(values[begin:end])
            for entry, value in zip(held[begin:end], values[begin:end], strict=True):
                own = spread(entry.values[metric])
                yield {
                    "metric": metric,
                    "title": METRICS[metric],
                    "run": self.number(entry),
                    "name": entry.digest.name,
                    "date": entry.date,
                    "commit": _commit(entry.digest),
                    "value": value,
                    "low": own.low,
                    "high": own.high,
                    "level": level.mean,
                    "next_low": level.next_low,
                    "next_high": level.next_high,
                }

    def changes(self) -> list[Change]:
        """Each change of level of each metric."""
        changes = []
        for metric in METRICS:
            better = metric == SCORE or FIGURES[metric][1]
            held, values = self.series(metric)
            for (begin, end), (_, after) in pairwise(_levels(values)):
                found = decide(values[begin:end], values[end:after], higher_is_better=better)
                changes.append(Change(metric, held[end], found))
        return changes

    def replaced(self) -> pd.DataFrame:
        """Machine, versions and settings in which a run differs from the one before.

        Returns:
            (changes,) run, date, what, before, now; without the commit.
        """
        columns = ["run", "date", "what", "before", "now"]
        rows = []
        for place, (one, two) in enumerate(pairwise(self.entries), 2):
            table = changed_table([one.digest, two.digest])
            for what, (before, now) in zip(table.index, table.to_numpy(), strict=True):
                if what not in COMMIT:
                    rows.append((place, two.date, what, before, now))
        return pd.DataFrame(rows, columns=columns)


def _levels(values: Sequence[float]) -> list[tuple[int, int]]:
    """The begin and end of each level in a series."""
    return list(pairwise([0, *change_points(values), len(values)]))


def _commit(run: Digest) -> str:
    conditions = run.conditions
    if conditions is None or not conditions.commit:
        return "not known"
    return conditions.commit[:SHA_SHOWN] + (" (changed)" if conditions.changed else "")


def read_histories(folder: str) -> tuple[list[History], dict[str, str]]:
    """The histories of the runs in a folder, the longest first; zips of runs are read too.

    Returns:
        a history for each model, data and scenario, and why a run was left out, by its name.

    Raises:
        ParameterError: if the folder holds no run with a finished performance test.
    """
    entries, left_out = [], dict[str, str]()
    for path in _paths(folder):
        try:
            entries.append(_entry(Run.open(path)))
        except BenchmarkError as error:
            left_out[path.name] = str(error)
    if not entries:
        problem = "holds no run with a finished performance test"
        raise ParameterError("history", folder, problem, CURE)
    groups: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: (one.date, one.digest.name)):
        groups.setdefault(_group(entry.digest), []).append(entry)
    found = [History(name, tuple(held)) for name, held in groups.items()]
    return sorted(found, key=lambda one: -len(one.entries)), left_out


def _paths(folder: str) -> Sequence[Path]:
    path = Path(find_file(folder))
    if not path.is_dir():
        raise ParameterError("history", folder, "is not a folder", CURE)
    inside = sorted(path.iterdir())
    return [one for one in inside if one.suffix == SUFFIX or (one / "params.yaml").is_file()]


def _entry(run: Run) -> Entry:
    tests = run.repeats("performance").values()
    if not tests:
        cure = "run perf.ipynb into it"
        raise ParameterError("run", run.display_path(), "has no finished performance test", cure)
    values = {name: [FIGURES[name][0](test) for test in tests] for name in METRICS if name != SCORE}
    values[SCORE] = [run.score or 0.0]
    known = {name: held for name, held in values.items() if all(value > 0 for value in held)}
    begun = min(test.result.started_at for test in tests)
    return Entry(digest(run), begun[:19].replace("T", " "), known)


def _group(run: Digest) -> str:
    prompts = run.conditions.prompts_sha256[:SHA_SHOWN] if run.conditions else ""
    model, scenario, data = run.origin.model, run.params.get("scenario"), run.params.get("dataset")
    return f"{model}, {scenario}, {data} (prompts {prompts})"
