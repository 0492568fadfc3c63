"""The columns of records.parquet, one row a query."""

from pathlib import Path

import pandas as pd

# In ns since the run's start.
TIMES = ("scheduled_ns", "issued_ns", "started_ns", "first_token_ns", "done_ns")
# A query may end without these: the engine does not tell, or the run was interrupted.
NULLABLE = ("started_ns", "first_token_ns", "done_ns")


def read_records(path: Path) -> pd.DataFrame:
    """Records from parquet; null times stay null (Int64)."""
    frame = pd.read_parquet(path)
    return frame.astype(dict.fromkeys(NULLABLE, "Int64"))
