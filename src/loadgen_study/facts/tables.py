"""A test's tables as frames: one reader with one error, and what an unfinished test left."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_integer_dtype

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_table
from vllm_loadgen.records.columns import COUNTED, MISSING, NULLABLE, SCHEMA, TIMES, records_table

COLUMNS = {*COUNTED, *TIMES}
# Whole numbers up to here are exact as floats, which figures are made of; in ns it is 104 days.
MOST = 2**53


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet, without its index, whole or not at all."""
    write_table(path, pa.Table.from_pandas(frame, preserve_index=False))


def read_frame(path: Path, **options: str) -> pd.DataFrame:
    """A table from parquet.

    Args:
        options: of ``pandas.read_parquet``.

    Raises:
        BenchmarkError: if it is missing or damaged.
    """
    try:
        return pd.read_parquet(path, **options)
    except Exception as error:  # of many types: the file may hold anything, pandas' notes too
        problem = " ".join(str(error).split())[:200] or type(error).__name__
    raise BenchmarkError(f"{path} cannot be read: {problem}. Run again in a new folder.")


def read_records(path: Path) -> pd.DataFrame:
    """Records from parquet, one row a query; null times stay null (Int64).

    Raises:
        BenchmarkError: if the file is missing or damaged, or holds no records of a test.
    """
    frame = read_frame(path, dtype_backend="numpy_nullable")
    if "given_ns" not in frame:  # up to version 0.2.0
        frame["given_ns"] = pd.array([None] * len(frame), "Int64")
    if fault := _fault(frame):
        raise BenchmarkError(f"{path} cannot be read: {fault}. Run again in a new folder.")
    return _with_numpy_types(frame)


def _fault(frame: pd.DataFrame) -> str:
    """Why a table holds no records of a test; empty if it does."""
    if lacking := COLUMNS - set(frame.columns):
        return f"it lacks {', '.join(sorted(lacking))}"
    for name in sorted(COLUMNS):
        if not is_integer_dtype(frame[name]) or (name not in NULLABLE and frame[name].hasnans):
            return f"{name} holds no whole numbers"
    if len(frame) and frame[[*COLUMNS]].max().max() > MOST:
        return "it holds numbers that no test has"
    if len(frame) and (frame[["issued_ns", "first_token_ns", "done_ns"]].min() < 0).any():
        return "it holds times before the test's start"
    return ""


def records_frame(table: pa.Table) -> pd.DataFrame:
    """A table of ``records_table`` as ``read_records`` gives it."""
    return _with_numpy_types(table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get))


def _with_numpy_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Only the times that may be missing stay Int64."""
    return frame.astype({name: "int64" for name in frame.columns if name not in NULLABLE})


@dataclass(frozen=True)
class Journaled:
    """What a journal holds.

    Attributes:
        records: as records.parquet has them; of queries after the last that reached the disk
            there is nothing.
        answers: token ids by sample, of the queries that were answered.
    """

    records: pd.DataFrame
    answers: dict[int, list[int]]


def read_journal(path: Path) -> Journaled:
    """All that reached the disk whole; a missing or damaged file holds nothing."""
    table = pa.Table.from_batches(_whole_batches(path), SCHEMA)
    frame = table.select(["row", "due_ns", *COUNTED]).to_pandas()
    known = frame.drop_duplicates("row", keep="last").sort_values("row")
    # Rows are noted in the order of issue; after a gap (a damaged piece) no due time would fit.
    known = known[known["row"].to_numpy() == np.arange(len(known))]
    due = None if known["due_ns"].isna().any() else known["due_ns"].to_numpy(np.int64)
    columns = {name: known[name].to_numpy(np.int64) for name in COUNTED}
    answered = table.filter(table["answer"].is_valid())
    answers = zip(answered["sample_index"].to_pylist(), answered["answer"].to_pylist(), strict=True)
    return Journaled(records_frame(records_table(columns, due)), dict(answers))


def _whole_batches(path: Path) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    # Where the process was killed, or the file is damaged, it may ask for any type or much memory.
    with (
        suppress(OSError, ValueError, MemoryError, pa.ArrowException),
        pa.OSFile(str(path)) as file,
        pa.ipc.open_stream(file) as stream,
    ):
        for batch in stream if stream.schema == SCHEMA else ():
            batch.validate(full=True)
            batches.append(batch)
    return [batch for batch in batches if _sound(batch)]


def _sound(batch: pa.RecordBatch) -> bool:
    """No nulls where there are none, and times that are times (-1: there is none)."""
    numbers = [batch.column(name) for name in ("row", *COUNTED)]
    return all(
        column.null_count == 0 and column.to_numpy().min(initial=0) >= MISSING for column in numbers
    )
