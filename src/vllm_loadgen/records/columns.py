"""The tables of a test: the columns of records.parquet, and one reader with one error."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype

from vllm_loadgen.errors import BenchmarkError

# In ns since the run's start.
TIMES = ("scheduled_ns", "issued_ns", "started_ns", "first_token_ns", "done_ns")
# A query may end without these: the engine does not tell, or the run was interrupted.
NULLABLE = ("started_ns", "first_token_ns", "done_ns")
COLUMNS = {"sample_index", *TIMES, "input_tokens", "output_tokens"}
# What a clock's column holds while there is no time yet.
MISSING = -1
# Whole numbers up to here are exact as floats, which figures are made of; in ns it is 104 days.
MOST = 2**53


def schedule_start_ns(issued_ns: np.ndarray, due_ns: np.ndarray | None = None) -> int:
    """A test's start by ``time.monotonic_ns``; 0 without queries.

    The start of the schedule is the latest instant at which no query was issued early: LoadGen
    does not tell it, and the harness can only be late.

    Args:
        issued_ns, due_ns: as in ``records_frame``.
    """
    early = issued_ns if due_ns is None else issued_ns[: len(due_ns)] - due_ns
    return int(early.min()) if len(early) else 0


def records_frame(
    columns: Mapping[str, np.ndarray], due_ns: np.ndarray | None = None
) -> pd.DataFrame:
    """Records as records.parquet has them: times in ns since the test's start, missing ones null.

    Args:
        columns: int64 (queries,) by name, times by ``time.monotonic_ns`` or ``MISSING``.
        due_ns: int64 (queries,), when each query was due, in ns since the start of LoadGen's
            schedule; queries beyond it are left out. None when a query is due as it is issued.
    """
    rows = None if due_ns is None else len(due_ns)
    frame = pd.DataFrame({name: values[:rows] for name, values in columns.items()})
    start_ns = schedule_start_ns(columns["issued_ns"], due_ns)
    frame.insert(1, "scheduled_ns", frame["issued_ns"] if due_ns is None else start_ns + due_ns)
    for name in TIMES:
        known = frame[name] != MISSING
        frame[name] = (frame[name] - start_ns).astype("Int64" if name in NULLABLE else "int64")
        if name in NULLABLE:
            frame.loc[~known, name] = pd.NA
    return frame


def read_frame(path: Path) -> pd.DataFrame:
    """A table from parquet.

    Raises:
        BenchmarkError: if it is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except Exception as error:  # of many types: the file may hold anything, pandas' notes too
        problem = " ".join(str(error).split())[:200] or type(error).__name__
    raise BenchmarkError(f"{path} cannot be read: {problem}. Run again.")


def read_records(path: Path) -> pd.DataFrame:
    """Records from parquet, one row a query; null times stay null (Int64).

    Raises:
        BenchmarkError: if the file is missing or damaged, or holds no records of a test.
    """
    frame = read_frame(path)
    if lacking := COLUMNS - set(frame.columns):
        problem = f"it lacks {', '.join(sorted(lacking))}"
        raise BenchmarkError(f"{path} cannot be read: {problem}. Run again.")
    for name in sorted(COLUMNS):
        if not is_integer_dtype(frame[name]):
            problem = f"{name} holds no whole numbers"
            raise BenchmarkError(f"{path} cannot be read: {problem}. Run again.")
    if len(frame) and frame[[*COLUMNS]].max().max() > MOST:
        raise BenchmarkError(f"{path} holds numbers that no test has. Run again.")
    frame = frame.astype(dict.fromkeys(NULLABLE, "Int64"))
    if len(frame) and (frame[["issued_ns", "first_token_ns", "done_ns"]].min() < 0).any():
        raise BenchmarkError(f"{path} holds times before the test's start. Run again.")
    return frame
