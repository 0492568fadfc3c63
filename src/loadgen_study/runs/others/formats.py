"""Detects and reads results of other tools; writes a run in their formats."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue, ValidationError

from loadgen_study.results.bundles import SUFFIX
from loadgen_study.results.folders import find_file
from loadgen_study.results.run import Run
from loadgen_study.runs.others import aiperf, guidellm, llm_d, loadgen_logs, vllm_bench
from loadgen_study.runs.others.origin import Compared
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.files import write_json
from vllm_loadgen.records.base import describe

# Python writes NaN and Infinity, which are not JSON; they are read as None.
DECODER = json.JSONDecoder(parse_constant=lambda _: None)


# A file is of the first tool whose keys (MARKS) it holds.
TOOLS = (vllm_bench, guidellm, aiperf)
KNOWN = "LoadGen, vllm bench serve --save-result, GuideLLM or AIPerf"
CURE = f"give a result of {KNOWN} as the tool wrote it"
WRITERS: dict[str, Callable[[Run], Mapping[str, object]]] = {
    "vllm-bench": vllm_bench.written,
    "llm-d": llm_d.written,
}


def is_other(name: str) -> bool:
    """Whether a name to be compared is that of a result of another tool."""
    path = Path(find_file(_file_and_number(name)[0]))
    if path.is_dir():
        return not (path / "params.yaml").is_file() and loadgen_logs.find(path) is not None
    return path.suffix == ".json"


def read_other(name: str) -> Compared:
    """A result of another tool; NAME#2 is the second in a file of several.

    Raises:
        ParameterError: if it cannot be read, no known tool wrote it, or it holds several results.
        BenchmarkError: for a damaged log of LoadGen.
    """
    file, number = _file_and_number(name)
    path = Path(find_file(file))
    if (folder := loadgen_logs.find(path)) is not None:
        return loadgen_logs.read(folder, name)
    results = [one for content in _contents(path, name) for one in _read(content, path, name)]
    if not number and len(results) == 1:
        return results[0]
    if number and 0 < int(number) <= len(results):
        chosen = results[int(number) - 1]
        return chosen.model_copy(update={"name": f"{chosen.name}#{number}"})
    cure = f"name one, as in {path.name}#1"
    raise ParameterError("runs", name, f"holds {len(results)} results", cure)


def _file_and_number(name: str) -> tuple[str, str]:
    """FILE and NUMBER of FILE#NUMBER; of any other name the name itself and an empty text."""
    file, mark, number = name.rpartition("#")
    return (file, number) if mark and number.isdecimal() else (name, "")


def _contents(path: Path, name: str) -> list[Mapping[str, JsonValue]]:
    """The JSON objects in a file: vllm bench serve may append one after the other."""
    found: list[Mapping[str, JsonValue]] = []
    try:
        text = path.read_text(encoding="utf-8").strip()
        while text:
            content, end = DECODER.raw_decode(text)
            found.append(content if isinstance(content, dict) else {})
            text = text[end:].strip()
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
    except (ValueError, RecursionError) as error:
        problem = f"is not whole JSON ({' '.join(str(error).split())})"
    else:
        return found or [{}]
    raise ParameterError("runs", name, problem, CURE)


def _read(content: Mapping[str, JsonValue], path: Path, name: str) -> list[Compared]:
    tool = next((one for one in TOOLS if content.keys() >= one.MARKS), None)
    if tool is None:
        raise ParameterError("runs", name, f"is not a result of {KNOWN}", CURE)
    try:
        found: list[Compared] = tool.read(content, path.stem)
    except (ValueError, OverflowError) as error:  # OverflowError: an integer beyond any float
        problem = describe(error) if isinstance(error, ValidationError) else str(error)
        problem = f"cannot be read as {tool.TOOL}'s: {problem}"
        raise ParameterError("runs", name, problem, CURE) from None
    return found


def export(run: Run, form: str, out: Path | None = None) -> Path:
    """Write a run's performance test in another tool's format.

    Args:
        form: of ``WRITERS``. out: the file; by default RUN.FORM.json next to the run's folder.

    Raises:
        ParameterError: if the run has no finished performance test.
        BenchmarkError: if the file cannot be written.
    """
    if not run.finished(run.performance_name):
        cure = "give a run that perf.ipynb was run into"
        raise ParameterError("run", run.display_path(), "has no finished performance test", cure)
    place = Path(run.bundle or run.folder)
    target = out or place.with_name(f"{place.name.removesuffix(SUFFIX)}.{form}.json")
    write_json(target, WRITERS[form](run))
    return target
