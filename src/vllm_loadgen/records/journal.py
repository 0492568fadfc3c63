"""journal.arrows: the records of a test as they reach the disk while it runs, and its reader.

An Arrow IPC stream, of which each piece stands for itself: a process that is killed in the middle
of one loses that piece and nothing before it. A query has a row when it was issued and another when
it was answered; the later one counts.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from vllm_loadgen.records.columns import MISSING, records_frame

JOURNAL = "journal.arrows"
COUNTED = (
    "sample_index", "issued_ns", "started_ns", "first_token_ns", "done_ns", "input_tokens",
    "output_tokens",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("due_ns", pa.int64()),  # null where a query is due when it is issued
        *((name, pa.int64()) for name in COUNTED),  # times by time.monotonic_ns, -1 is missing
        ("answer", pa.list_(pa.int32())),  # of an accuracy test; null of every other
    ]
)


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
    batches = _whole_batches(path)
    if not batches:
        return Journaled(records_frame({name: np.array([], np.int64) for name in COUNTED}), {})
    table = pa.Table.from_batches(batches, SCHEMA)
    frame = table.select(["row", "due_ns", *COUNTED]).to_pandas()
    known = frame.drop_duplicates("row", keep="last").sort_values("row")
    # Rows are noted in the order of issue; after a gap (a damaged piece) no due time would fit.
    known = known[known["row"].to_numpy() == np.arange(len(known))]
    due = None if known["due_ns"].isna().any() else known["due_ns"].to_numpy(np.int64)
    columns = {name: known[name].to_numpy(np.int64) for name in COUNTED}
    answered = table.filter(table["answer"].is_valid())
    answers = zip(answered["sample_index"].to_pylist(), answered["answer"].to_pylist(), strict=True)
    return Journaled(records_frame(columns, due), dict(answers))


def _whole_batches(path: Path) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            if stream.schema != SCHEMA:
                return []
            for batch in stream:
                batch.validate(full=True)
                batches.append(batch)
    # Here the process was killed, or the file is damaged: it may ask for any type or much memory.
    except (OSError, ValueError, MemoryError, pa.ArrowException):
        pass
    return [batch for batch in batches if _sound(batch)]


def _sound(batch: pa.RecordBatch) -> bool:
    """No nulls where there are none, and times that are times (-1: there is none)."""
    numbers = [batch.column(name) for name in ("row", *COUNTED)]
    return all(column.null_count == 0 for column in numbers) and all(
        column.to_numpy().min(initial=0) >= MISSING for column in numbers
    )
