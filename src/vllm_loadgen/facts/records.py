"""The tables of a test: the columns of records.parquet, and one reader with one error."""

from pathlib import Path

import pandas as pd

from vllm_loadgen.errors import BenchmarkError

# In ns since the run's start.
TIMES = ("scheduled_ns", "issued_ns", "started_ns", "first_token_ns", "done_ns")
# A query may end without these: the engine does not tell, or the run was interrupted.
NULLABLE = ("started_ns", "first_token_ns", "done_ns")
COLUMNS = {"sample_index", *TIMES, "input_tokens", "output_tokens"}


def read_frame(path: Path) -> pd.DataFrame:
    """A table from parquet.

    Raises:
        BenchmarkError: if it is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        problem = str(error).splitlines()[0]
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
    frame = frame.astype(dict.fromkeys(NULLABLE, "Int64"))
    if len(frame) and (frame[["issued_ns", "first_token_ns", "done_ns"]].min() < 0).any():
        raise BenchmarkError(f"{path} holds times before the test's start. Run again.")
    return frame
