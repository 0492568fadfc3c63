"""Runs made safe to share: secrets, paths and names found in files and removed; zip files."""

import getpass
import json
import re
import shutil
import socket
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from loadgen_study.facts.tables import read_frame, write_frame
from loadgen_study.results.bundles import SUFFIX
from loadgen_study.results.folders import without_paths
from loadgen_study.results.run import Run
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.files import atomic_write, write_json, write_text
from vllm_loadgen.redact import OF_ENVIRONMENT, scrub, secrets_in

Kind = Literal["secret", "absolute path", "host name", "user name", "not checked"]
# A name: what it is of, what stands in its place, and how it is found.
Name = tuple[Kind, str, re.Pattern[str]]
# LoadGen's own logs, which MLPerf's checker and reviewers want as they were written. LoadGen puts
# no path and no name of host or user into them.
EVIDENCE = "mlperf_log_"
TEXTS = {".txt", ".log", ".html", ".csv", ".md", ".conf", ".config", ".jsonl", ".json", ".ipynb",
         ".yaml", ".yml"}  # fmt: skip
PACKED = {".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".zst", ".7z"}
# Names that half of all machines have, and that are words of a report as well.
COMMON = {"root", "user", "users", "admin", "ubuntu", "debian", "runner", "jovyan", "vagrant",
          "docker", "localhost", "host", "test", "model", "data"}  # fmt: skip
SHORTEST_NAME = 3
LONGEST_EXCERPT = 100
# An address differs from a version of four numbers by its port or its protocol.
_ADDRESS = re.compile(
    r"(?<![\d.])(?!127\.|0\.0\.0\.0)(?:(?<=://)(?:\d{1,3}\.){3}\d{1,3}|(?:\d{1,3}\.){3}\d{1,3}(?=:\d))"
)
_IMAGE = re.compile(r"(data:[\w/+.-]+;base64,[A-Za-z0-9+/=]*)")


@dataclass(frozen=True)
class Leak:
    """A secret, path or name in a file, or a file that could not be checked.

    Attributes:
        excerpt: never a secret itself. times: how often the file holds it.
    """

    file: Path
    kind: Kind
    excerpt: str
    times: int = 1

    @property
    def evidence(self) -> bool:
        """Whether the file is a log of LoadGen's own, which is never changed."""
        return self.file.name.startswith(EVIDENCE)

    def __str__(self) -> str:
        often = f" ({self.times} times)" if self.times > 1 else ""
        return f"{self.file}: {self.kind}: {self.excerpt}{often}"


def check(path: Path, known: Iterable[Path] = ()) -> list[Leak]:
    """The leaks in a run's folder or in one of its files; pictures are not examined.

    Args:
        known: paths that the files may hold, besides ``path`` and those of this machine.

    Raises:
        ParameterError: if there is no such file or folder.
    """
    known = (path.absolute(), path.resolve(), *known)
    return [leak for file in _files(path) for leak in _examine(file, known, clean=False)]


def clean(path: Path, known: Iterable[Path] = ()) -> list[Leak]:
    """Take out, in place, what ``check`` finds; returns what is left.

    Secrets become [secret], names [user] and [host]; of a path the part goes that says whose
    machine it was (see ``results.folders.portable``). LoadGen's own logs stay as they are.

    Raises:
        ParameterError: if there is no such file or folder.
    """
    known = (path.absolute(), path.resolve(), *known)
    for file in _files(path):
        if not file.name.startswith(EVIDENCE):
            _examine(file, known, clean=True)
    return check(path, known)


def portable_notebook(text: str, known: Iterable[Path] = ()) -> str:
    """An executed notebook without secrets and without paths that say whose machine it was."""
    return _notebook(_Search(known, names=False).without(json.loads(text)))


def bundle(run: Run, out: Path | None = None, as_it_is: bool = False) -> tuple[Path, list[Leak]]:
    """Write a run into one zip file, which is read like its folder.

    Args:
        out: the file; next to the run's folder without it.
        as_it_is: with all that ``check`` finds; without, it is taken out of the copy. The
            folder itself stays as it is.

    Returns:
        the file, and what was taken out of it.

    Raises:
        ParameterError: if something cannot be taken out.
    """
    target = out or run.folder.with_name(f"{run.folder.name}{SUFFIX}")
    if target.suffix != SUFFIX:
        raise ParameterError("out", str(target), "is not the name of a zip file", "give NAME.zip")
    if as_it_is:
        _zip(run.folder, target)
        return target, []
    with tempfile.TemporaryDirectory(prefix="vllm-loadgen-") as folder:
        copy = Path(folder) / run.folder.name
        shutil.copytree(run.folder, copy)
        known = [run.folder.absolute()]
        found = check(copy, known)
        if found and (left := clean(copy, known)):
            first = f"{left[0].file.relative_to(folder)}: {left[0].kind}: {left[0].excerpt}"
            problem = f"gives away what cannot be taken out of it ({first})"
            cure = "see vllm-loadgen check, or bundle it --as-it-is"
            raise ParameterError("run", run.folder.name, problem, cure)
        _zip(copy, target)
    return target, found


def _zip(folder: Path, target: Path) -> None:
    with atomic_write(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in (".part", SUFFIX):
                file.write(path, path.relative_to(folder.parent))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        cure = "give the folder of a run, or a file of it"
        raise ParameterError("path", str(path), "is neither a file nor a folder", cure)
    return sorted(file for file in path.rglob("*") if file.is_file())


def _examine(file: Path, known: Iterable[Path], clean: bool) -> list[Leak]:
    """The leaks of one file; with ``clean``, it is rewritten without them."""
    search = _Search(known)
    try:
        cleaned = search.without(_read(file))
        if clean and search.found:
            _write(file, cleaned)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, BenchmarkError) as error:
        reason = " ".join(str(error).split())[:LONGEST_EXCERPT] or type(error).__name__
        return [Leak(file, "not checked", scrub(f"cannot be read or written: {reason}"))]
    return [Leak(file, *what, times) for what, times in search.found.items()]


def _read(file: Path) -> Any:
    """A file's content: a tree of values, a frame or text; None for a picture and its like."""
    if file.suffix == ".parquet":
        return read_frame(file, dtype_backend="numpy_nullable")
    raw = file.read_bytes()
    if file.suffix not in TEXTS and b"\0" in raw:
        if file.suffix in PACKED:
            raise ValueError("unpack it and check the files in it")
        return None
    text = raw.decode(errors="replace")
    if file.suffix in (".json", ".ipynb"):
        return json.loads(text)
    return yaml.safe_load(text) if file.suffix in (".yaml", ".yml") else text


def _write(file: Path, content: Any) -> None:
    match file.suffix:
        case ".parquet":
            write_frame(file, content)
        case ".json":
            write_json(file, content)
        case ".ipynb":
            write_text(file, _notebook(content))
        case ".yaml" | ".yml":
            write_text(file, yaml.safe_dump(content, sort_keys=False, width=100))
        case _:
            write_text(file, content)


def _notebook(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _is_image(key: object) -> bool:
    """Whether a notebook stores base64 under this key."""
    return isinstance(key, str) and key.startswith("image/") and key != "image/svg+xml"


def _is_lines(value: list[Any]) -> bool:
    """Whether a list is one text split into lines, as notebooks store it."""
    ends = [isinstance(line, str) and line.endswith("\n") for line in value[:-1]]
    return bool(ends) and all(ends) and isinstance(value[-1], str)


class _Search:
    """Removes secrets, paths and names from a file's content, and counts them.

    Args:
        known: paths that are replaced whole. names: whether to remove names of user and host too.

    Attributes:
        found: how often each (kind, excerpt) occurred.
    """

    def __init__(self, known: Iterable[Path], names: bool = True) -> None:
        self.found: Counter[tuple[Kind, str]] = Counter()
        self._known = tuple(known)
        self._names = list(_names()) if names else []

    def without(self, value: Any, is_key: bool = False) -> Any:
        """A text, a tree of values or a table, with every text in it cleaned.

        Args:
            is_key: keep names of user and host: a key may be the same word, such as "max".
        """
        match value:
            case str():
                parts = _IMAGE.split(value)  # those that an HTML page carries stay
                parts[::2] = [
                    self._part(part, [] if is_key else self._names) for part in parts[::2]
                ]
                return "".join(parts)
            case dict():
                return {
                    self.without(key, is_key=True): each if _is_image(key) else self.without(each)
                    for key, each in value.items()
                }
            case list() if _is_lines(value):
                return self.without("".join(value)).splitlines(keepends=True)
            case list():
                return [self.without(each) for each in value]
            case pd.DataFrame():
                texts = value.select_dtypes(["object", "string"])
                changed = value.assign(**{name: texts[name].map(self.without) for name in texts})
                return changed.rename(columns=lambda name: self.without(name, is_key=True))
        return value

    def _part(self, text: str, names: Iterable[Name]) -> str:
        for what, secret in secrets_in(text):
            prefix = "" if what == OF_ENVIRONMENT else f" {secret[:4]}..."  # which issuers give
            self._note("secret", what + prefix)
        text, paths = without_paths(scrub(text), self._known)
        for path in paths:
            self._note("absolute path", path)
        for kind, mark, name in names:
            for match in name.finditer(text):
                self._note(kind, match.group())
            text = name.sub(mark, text)
        return text

    def _note(self, kind: Kind, excerpt: str) -> None:
        self.found[kind, excerpt[:LONGEST_EXCERPT]] += 1


def _names() -> Iterator[Name]:
    """IP addresses, then the names of this machine and its user, the longest first."""
    yield "host name", "[host]", _ADDRESS
    host = socket.gethostname()
    names: dict[str, tuple[Kind, str]] = {}
    with suppress(OSError, KeyError):  # a user without an entry
        names[getpass.getuser()] = ("user name", "[user]")
    names |= dict.fromkeys((host, host.split(".")[0]), ("host name", "[host]"))
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= SHORTEST_NAME and name.lower() not in COMMON:
            yield *names[name], re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
