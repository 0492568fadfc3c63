"""Curve points, system speed over user speed: of a run's tests, or of a CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from loadgen_study.results.folders import find_file
from loadgen_study.results.run import Run
from loadgen_study.runs.sweep import sweep_table
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.records.base import Part

NUMBERS = ("tokens_per_s_per_device", "tpot_p90_ms", "ttft_p90_ms")
TEXTS = ("model", "data", "source")
COLUMNS = ("model", "data", *NUMBERS, "source")
# MLCommons' messaging guidelines: "MLPerf results may not be compared against non-MLPerf results".
MLPERF = "mlperf"


class CurvePoint(Part):
    """The speed of the system and of each user at one number of queries at once.

    Attributes:
        at_once: queries; None if not known.
        tokens_per_s_per_device: output tokens/s; a system of CPUs counts as one device.
        tpot_p90_ms: time per output token.
        ttft_p90_ms: from the sending of a query; None if not known.
    """

    at_once: int | None = None
    tokens_per_s_per_device: float
    tpot_p90_ms: float
    ttft_p90_ms: float | None


class NamedPoint(CurvePoint):
    """A point of a file, with model, data and source."""

    model: str
    data: str
    source: str

    @property
    def is_mlperf(self) -> bool:
        return MLPERF in self.source.casefold()


def points_of(run: Run, sweep: pd.DataFrame | None = None) -> tuple[CurvePoint, ...]:
    """A run's points whose TPOT has a p90, by rising queries at once.

    Args:
        sweep: of ``runs.sweep.sweep_table``, if made already.
    """
    if sweep is None and not run.finished_tests("sweep/*-at-once"):
        return ()  # without the figures of a sweep of rates
    table = sweep_table(run) if sweep is None else sweep
    if table.empty or "user_p90_tokens_per_s" not in table:
        return ()
    tests = table[table["kind"] == "concurrency"].sort_values("offered")
    rate = tests["steady_tokens_per_s"].fillna(tests["tokens_per_s"]) / run.devices
    ttft_ms = tests.get("sent_ttft_p90_ms", pd.Series(math.nan, tests.index))
    return tuple(
        CurvePoint(
            at_once=int(test["offered"]),
            tokens_per_s_per_device=rate[name],
            tpot_p90_ms=1e3 / test["user_p90_tokens_per_s"],
            ttft_p90_ms=None if math.isnan(ttft_ms[name]) else ttft_ms[name],
        )
        for name, test in tests.iterrows()
        if test["user_p90_tokens_per_s"] > 0 and rate[name] > 0
    )


def read_points(name: str) -> tuple[NamedPoint, ...]:
    """The points of a CSV with the columns ``COLUMNS``.

    Raises:
        ParameterError: if it cannot be read, or a column or value is missing; it names both.
    """
    try:
        text = Path(find_file(name)).read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), strict=True)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        rows = [] if missing else list(reader)
    except OSError as error:
        raise _unusable(name, f"cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unusable(name, f"is not CSV in UTF-8 ({error})") from None
    if missing:
        raise _unusable(name, f"has no column {missing[0]}")
    if not rows:
        raise _unusable(name, "has no rows")
    return tuple(_point(name, number, row) for number, row in enumerate(rows, 1))


def _point(name: str, number: int, row: Mapping[str, str | None]) -> NamedPoint:
    values: dict[str, object] = {}
    for column in (*TEXTS, *NUMBERS):
        cell = (row[column] or "").strip()
        values[column] = cell if column in TEXTS else _number(cell)
        if not values[column]:
            wrong = f"{row[column]!r} is not a number above 0" if column in NUMBERS else "is empty"
            raise _unusable(name, f"row {number}, column {column}: {wrong}")
    return NamedPoint.model_validate(values)


def _number(cell: str) -> float:
    """A finite number above 0, or 0."""
    try:
        value = float(cell)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _unusable(name: str, problem: str) -> ParameterError:
    cure = f"give a CSV with the columns {', '.join(COLUMNS)}, each row with all of them"
    return ParameterError("runs", name, problem, cure)


def unlike(run: Run, point: NamedPoint) -> str:
    """Why a point of a file is not compared with a run, such as "other model"; or empty."""
    if not _named(point.model, (run.model.name, run.params.model)):
        return f"other model ({point.model})"
    if not _named(point.data, (run.dataset.name, run.params.dataset)):
        return f"other data ({point.data})"
    return ""


def _named(text: str, names: Sequence[str]) -> bool:
    """Whether a text is one of the names, with or without a hub's owner or a folder."""
    known = {part.casefold() for name in names for part in (name, name.rpartition("/")[2])}
    return text.casefold() in known
