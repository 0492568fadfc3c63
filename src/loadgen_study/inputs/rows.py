"""A data file's rows and its checksum, from one read of its bytes; only used columns are kept."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from loadgen_study.benchmarks.record import DataColumns
from loadgen_study.results.folders import NAME_ALONE, existing
from loadgen_study.words import listed
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.prompts import MOST_ID

# Values by column name, as many in each.
Columns = dict[str, list[Any]]

RECORDS_CURE = (
    "save a list of rows, each an object with the columns (pandas: to_json(path, orient='records'))"
)
UNPICKLE = (
    "convert it in a container whose image has pandas and pyarrow: docker run --rm --network none "
    "-v .:/data IMAGE python -c "
    "\"import pandas; pandas.read_pickle('/data/IN.pkl').to_parquet('/data/OUT.parquet')\""
)
UNPACK = "unpack it (from a spreadsheet: save as csv)"
PARQUET = b"PAR1"
SIGNATURES = {
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    PARQUET: "a parquet file by its content",
}
NOT_BLANK = re.compile(r"[^ \t\n\r]")
# Python's csv module refuses cells of more than 128 KiB unless it is given a limit (of 32 bits).
MOST_CELL_CHARS = 2**31 - 1
# Column names in a message, and characters of each.
MOST_NAMES, MOST_NAME_CHARS = 8, 40


class _Unusable(Exception):
    """What is wrong with a file, and its cure, if that is not another file."""

    def __init__(self, problem: str, cure: str = "") -> None:
        super().__init__(problem)
        self.problem, self.cure = problem, cure


def dataset_cure(wanted: DataColumns) -> str:
    """What to give as a dataset."""
    *others, last = wanted.text + wanted.extra
    return (
        f"give 'embedded', {wanted.official}, or a json, jsonl, csv or parquet file with the "
        f"columns {', '.join(others)} and {last}"
    )


def data_file(name: str, wanted: DataColumns) -> Path:
    """The data file ``name``.

    Raises:
        ParameterError: if there is no such file.
    """
    path = existing(name, Path.is_file)
    if path is None:
        if existing(name, Path.is_dir):
            raise ParameterError("dataset", name, "it is a folder", "give a file in it")
        cure = f"{dataset_cure(wanted)}; {NAME_ALONE}"
        raise ParameterError("dataset", name, "there is no such file", cure)
    return path


def read_rows(name: str, wanted: DataColumns) -> tuple[Columns, str]:
    """The used columns of the data file ``name``, checked, and "sha256:..." of the same bytes.

    Raises:
        ParameterError: if there is no such file, it cannot be read, lacks a column, or a row of it
            lacks a value.
    """
    path = data_file(name, wanted)
    ending = path.suffix.lower()
    try:
        content = path.read_bytes()
        columns = _parsed(content, ending, wanted)
    except _Unusable as error:
        cure = error.cure or dataset_cure(wanted)
        raise ParameterError("dataset", name, error.problem, cure) from None
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise ParameterError("dataset", name, problem, "give a file that you may read") from None
    except Exception as error:  # what parses a damaged file raises anything
        message = " ".join(str(error).split())[:200] or type(error).__name__
        problem = f"it cannot be read as {ending[1:]} ({message})"
        raise ParameterError("dataset", name, problem, dataset_cure(wanted)) from None
    check_rows(name, columns, wanted)
    return columns, f"sha256:{hashlib.sha256(content).hexdigest()}"


def is_text(value: object) -> bool:
    """Whether a value is text with something to see, and can be written as UTF-8."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        return bool(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, as \ud83d alone
        return False


# Files to columns ---------------------------------------------------------------------------
def _parsed(content: bytes, ending: str, wanted: DataColumns) -> Columns:
    if not content.strip():
        raise _Unusable("it is empty")
    for signature, kind in SIGNATURES.items():
        if content.startswith(signature) and (signature, ending) != (PARQUET, ".parquet"):
            cure = "name it .parquet" if signature == PARQUET else UNPACK
            raise _Unusable(f"it is {kind}", cure)
    match ending:
        case ".json" | ".jsonl":
            return _json(_text(content), wanted)
        case ".csv":
            return _csv(_text(content), wanted)
        case ".parquet":
            return _parquet(content, wanted)
        case ".pkl" | ".pickle":
            raise _Unusable("it is a pickle, and reading one runs the code in it", UNPICKLE)
    raise _Unusable(f"files of type {ending or 'none'} are not read")


def _text(content: bytes) -> str:
    """UTF-8, with or without a byte order mark."""
    encoding = json.detect_encoding(content)  # by a byte order mark, or by zeros in the first bytes
    if not encoding.startswith("utf-8"):
        name = encoding.upper()
        cure = f"save it as UTF-8 (iconv -f {name} -t UTF-8)"
        raise _Unusable(f"it is encoded in {name}, not in UTF-8", cure)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{error.object[error.start]:02x} in line {line}"
        problem = f"{found} is not UTF-8; it may be encoded in Windows-1252 or Latin-1"
        raise _Unusable(problem, "save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)") from None


def _json(text: str, wanted: DataColumns) -> Columns:
    """A list of rows, or rows one after the other.

    Python's reader: pyarrow's ends the process where the first row is null (apache/arrow 47409).
    """
    found = _documents(text)
    rows = _list_of_rows(found[0], wanted) if len(found) == 1 else found
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise _Unusable(f"row {number} is not an object with the columns", RECORDS_CURE)
    names = [*dict.fromkeys(name for row in rows for name in row)] if rows else wanted.text
    return {name: [row.get(name) for row in rows] for name in _used(names, wanted)}


def _documents(text: str) -> list[Any]:
    """The JSON values that follow each other in a text."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while begin := NOT_BLANK.search(text, at):
        value, at = decoder.raw_decode(text, begin.start())
        found.append(value)
    return found


def _list_of_rows(document: Any, wanted: DataColumns) -> list[Any]:
    """The rows of a file that is one list or one row; refuses an object that holds them inside."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and document:
        needed = [document[name] for name in wanted.needed(document)]
        if needed and all(isinstance(value, dict | list) for value in needed):
            raise _Unusable("it holds columns, not rows", RECORDS_CURE)
        values = [*document.values()]
        lists = [one for one in values if isinstance(one, list) and one]
        within = any(isinstance(one[0], dict | list) for one in lists)
        if not needed and (within or all(isinstance(one, dict) for one in values)):
            problem = f"it is one object with the keys {_listed([*document])}, not a list of rows"
            raise _Unusable(problem, RECORDS_CURE)
    return [document]


def _csv(text: str, wanted: DataColumns) -> Columns:
    """Every cell is text, as it is written: None, NA and 007 too."""
    csv.field_size_limit(MOST_CELL_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    columns: Columns = {}
    line = 1
    try:
        for cells in reader:
            if len(cells) <= 1 and not "".join(cells).strip():
                pass  # a blank line
            elif not names:
                names = cells
                other = re.search(r"[;\t|]", names[0]) if len(names) == 1 else None
                if other and not wanted.used(names):
                    problem = f"its columns are separated by {other.group()!r}"
                    raise _Unusable(problem, "separate them by commas")
                columns = {name: [] for name in _used(names, wanted)}
            elif any(cells[len(names) :]):
                problem = f"line {line} has {len(cells)} cells, and the header {len(names)}"
                raise _Unusable(problem, "quote each cell that holds a comma")
            else:
                row = dict(zip(names, cells, strict=False))
                for name, values in columns.items():
                    values.append(row.get(name))
            line = reader.line_num + 1
    except csv.Error as error:
        cure = 'close each quote, and write a quote within a cell twice ("")'
        raise _Unusable(f"the row in line {line} cannot be read ({error})", cure) from None
    return columns


def _parquet(content: bytes, wanted: DataColumns) -> Columns:
    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
    used = _used(file.schema_arrow.names, wanted)
    table = file.read(columns=list(used))
    return {name: table.column(name).to_pylist() for name in used}


def _used(names: Sequence[str], wanted: DataColumns) -> tuple[str, ...]:
    """See ``DataColumns.used``; refuses a file that lacks one, or has one twice."""
    used = wanted.used(names)
    if not used:
        raise _Unusable(f"it has the columns {_listed(names)}")
    for name in used:
        if list(names).count(name) > 1:
            raise _Unusable(f"it has the column {name} twice", "keep one of them")
    return used


def _listed(names: Sequence[str]) -> str:
    """The first column names, in quotes where a blank or a control character is not seen."""
    seen = [name if name.isprintable() and name == name.strip() else repr(name) for name in names]
    return listed([name[:MOST_NAME_CHARS] for name in seen], MOST_NAMES) or "none"


def _is_ids(value: object) -> bool:
    """Whole numbers of 32 bits, one at least; ``data.check_ids`` compares them with the model."""
    if not isinstance(value, list) or not value:
        return False
    return all(type(one) is int and 0 <= one <= MOST_ID for one in value)


def check_rows(name: str, columns: Columns, wanted: DataColumns) -> None:
    """Refuse a dataset without rows, or with a row that lacks a value that is used.

    Raises:
        ParameterError: naming the first such row.
    """
    if not any(columns.values()):
        raise ParameterError("dataset", name, "it has no rows", dataset_cure(wanted))
    for column in wanted.needed(columns):
        ids = wanted.is_tokenized(column)
        kind, fits = ("token ids", _is_ids) if ids else ("text", is_text)
        for index, value in enumerate(columns[column]):
            if not fits(value):
                lacks = "nothing" if value in (None, "", []) else f"no {kind}"
                problem = f"row {index} has {lacks} in the column {column}"
                cure = f"give it {kind} there, or leave the row out"
                raise ParameterError("dataset", name, problem, cure)
