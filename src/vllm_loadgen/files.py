"""The one writer of a run's files: each is there whole or not at all, and JSON never holds NaN.

Also a file's SHA-256.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from vllm_loadgen.errors import BenchmarkError


def write_text(path: Path, text: str) -> None:
    """Write a text file (see ``atomic_write``)."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file (see ``atomic_write``); NaN and infinity, which JSON has not, become null.

    Args:
        value: a pydantic model, or plain values; numpy's numbers are taken as floats.
    """
    write_text(path, to_json(value, indent=2, inf_nan_mode="null", fallback=float).decode() + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as parquet (see ``atomic_write``)."""
    with atomic_write(path) as part:
        pq.write_table(table, part)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which then becomes ``path``: a full disk leaves the old file, or none.

    Raises:
        BenchmarkError: if it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with report_os_errors(path):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def report_os_errors(path: Path) -> Iterator[None]:
    """Turn the body's errors of the file system into one that a user can act on.

    Raises:
        BenchmarkError: for any error of the file system.
    """
    try:
        yield
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror or error}"
        cure = "Make room, or give another outputs, and run again"
        raise BenchmarkError(f"{problem}. {cure}.") from None
