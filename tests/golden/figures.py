"""Every number that reports, summaries, submissions and comparisons show of a run, by id.

An id is a path, such as ``report/tests/Test, scenario/performance/samples``: section, first
columns' titles, row and column. Sentences are not here: ``wording/`` has them, a file a section.
"""

import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from bs4 import BeautifulSoup
from markupsafe import Markup
from pydantic import BaseModel

from loadgen_study import Run
from loadgen_study.report.report import Report
from loadgen_study.runs import compare

SECTIONS = (
    "headline", "summary", "what_the_data_say", "tests", "accuracy", "performance", "throughput",
    "latency", "what_if", "machine", "limits", "published", "conformance", "extra_tests",
    "comparison", "configuration", "provenance",
)  # fmt: skip
OF_A_TEST = (
    "metrics", "load", "steady", "replicas", "servers", "tokens_per_s_interval", "energy",
    "limits_ms", "kept_share",
)  # fmt: skip
# Not within a word: of "p90", "ROUGE-1" and a hash nothing is taken.
NUMBER = re.compile(r"(?<![\w.,/-])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w/]|\.\w)")
SEEN = (".badge", "dt", "dd", "p:not(.badges)", "pre")  # of the first screen
LARGE_BYTES = 4096  # a log, copied or cut
MOST_ROWS = 40  # of a table that is held row by row
Value = float | str | None


def figures_of(folder: Path) -> dict[str, Value]:
    """Of one run: summary and report; of its tests what is computed from their records."""
    run = Run.open(folder)
    found = dict(flat("summary", json.loads((folder / "summary.json").read_text())))
    for path in sorted(folder.rglob("result.json")):
        name = str(path.parent.relative_to(folder))
        if name.startswith("peak/"):  # its figures are in the summary
            continue
        test = run.test(name)
        for figure in OF_A_TEST:
            found |= flat(f"test/{name}/{figure}", getattr(test, figure))
    for figure in ("roofline", "anatomy", "peak"):
        found |= flat(f"run/{figure}", getattr(run, figure))
    report = Report(run)
    for name in SECTIONS:
        at = f"report/{name}"
        for part in getattr(report, name)().parts:
            if isinstance(part, pd.DataFrame):
                new = dict(flat(f"{at}/{titled(part)}", part))
                assert not new.keys() & found.keys(), f"two tables of {name} have one title"
                found |= new
            elif tables := getattr(part, "chart", {}).get("datasets"):
                found |= charted(f"{at}/chart", tables)
    return found


def wording_of(folder: Path) -> dict[str, str]:
    """The sentences of each section of a run's report, of which its numbers are a part."""
    report = Report(Run.open(folder))
    parts = {name: getattr(report, name)().parts for name in SECTIONS}
    said = {
        name: "\n\n".join(seen(part) for part in each if isinstance(part, str))
        for name, each in parts.items()
    }
    return {name: text.replace(str(folder.parent), "RUNS") for name, text in said.items()}


def seen(part: str) -> str:
    """What a reader sees of a section's text: HTML without its tags, a line an element."""
    if not isinstance(part, Markup):
        return part
    page = BeautifulSoup(part, "html.parser")
    for style in page.find_all("style"):
        style.decompose()
    lines = (" ".join(one.get_text().split()) for one in page.select(", ".join(SEEN)))
    return "\n".join(filter(None, lines))


def comparison_of(folders: list[Path]) -> dict[str, Value]:
    """Of several runs side by side."""
    digests = [compare.read_digest(str(folder)) for folder in folders]
    found = dict(flat("comparison", compare.figures_table(digests)))
    for folder, digest in zip(folders, digests, strict=True):
        quantities = digest.model_dump(include={"figures", "quantiles", "rouge1", "runs"})
        found |= flat(f"digest/{folder.name}", quantities)
    return found


def submission_of(tree: Path) -> dict[str, Value]:
    """Of a submission's tree, without the code that it carries."""
    found: dict[str, Value] = {}
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.is_dir() or "/src/" in f"/{name}":
            continue
        if path.suffix == ".json" and "mlperf_log" not in name:
            found |= flat(name, json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".md":
            numbers = set(NUMBER.findall(path.read_text(encoding="utf-8")))
            found[f"{name}/text"] = " ".join(sorted(numbers))
        elif path.stat().st_size < LARGE_BYTES:
            found[name] = " ".join(NUMBER.findall(path.read_text(encoding="utf-8")))
        else:
            found[name] = float(path.stat().st_size)
    return found


def flat(at: str, value: object) -> Iterator[tuple[str, Value]]:
    """The numbers in a value of any kind, with their ids."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, pd.DataFrame) and len(value) > MOST_ROWS:
        value = summed_up(value)
    elif isinstance(value, pd.DataFrame):
        named = value.reset_index() if value.index.name else value.reset_index(drop=True)
        first = [str(label) for label in named.iloc[:, 0]] if len(named.columns) else []
        labels = first if len(set(first)) == len(first) else [str(i) for i in range(len(named))]
        rows = named.to_dict("records")
        value = dict(zip(labels, rows, strict=True))
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(f"{at}/{key}", each)
    elif isinstance(value, list | tuple | np.ndarray):
        for place, each in enumerate(value):
            yield from flat(f"{at}/{place}", each)
    elif isinstance(value, bool | np.bool_):
        yield at, str(bool(value))
    elif isinstance(value, int | float | np.number):
        known = math.isfinite(value)
        yield at, float(value) if known else None
    elif isinstance(value, str) and (numbers := NUMBER.findall(value)):
        yield at, " ".join(numbers)


def titled(table: pd.DataFrame) -> str:
    """What tells a table from others of its section: the titles of its index and first column."""
    index = [table.index.name] if table.index.name else []
    return ", ".join(map(str, [*index, table.columns[0]]))


def charted(at: str, tables: Mapping[str, object]) -> Iterator[tuple[str, Value]]:
    """Of what a chart draws: each column summed up."""
    for name, table in tables.items():
        if not isinstance(table, str):
            continue
        yield from flat(f"{at}/{name}", summed_up(pd.read_csv(io.StringIO(table))))


def summed_up(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Count, least, most and sum of each column of numbers."""
    numbers = frame.select_dtypes("number").astype(float)
    return {str(name): {"count": float(column.count()), "min": column.min(), "max": column.max(),
                        "sum": column.sum()}
            for name, column in numbers.items()}  # fmt: skip
