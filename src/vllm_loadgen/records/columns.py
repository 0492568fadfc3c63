"""The tables of a test: the columns of records.parquet, and those of journal.arrows."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

# In ns since the run's start.
TIMES = ("scheduled_ns", "issued_ns", "given_ns", "started_ns", "first_token_ns", "done_ns")
# What a query may lack: not every engine reports a start, and a run may be interrupted. given_ns is
# when the harness gave it to the engine, or sent the request.
NULLABLE = ("given_ns", "started_ns", "first_token_ns", "done_ns")
# What is counted and timed of a query, int64; a time by ``time.monotonic_ns``, or ``MISSING``.
COUNTED = (
    "sample_index", "issued_ns", "given_ns", "started_ns", "first_token_ns", "done_ns",
    "input_tokens", "output_tokens",
)  # fmt: skip
MISSING = -1
# journal.arrows: the records of a test as they reach the disk while it runs. An Arrow IPC stream:
# a process that is killed while it writes a batch loses that batch alone. A query has a row when it
# was issued and another when it was answered; the later one counts.
JOURNAL = "journal.arrows"
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("due_ns", pa.int64()),  # null where a query is due when it is issued
        *((name, pa.int64()) for name in COUNTED),
        ("answer", pa.list_(pa.int32())),  # of an accuracy test; null of every other
    ]
)


def schedule_start_ns(issued_ns: np.ndarray, due_ns: np.ndarray | None = None) -> int:
    """A test's start by ``time.monotonic_ns``; 0 without queries.

    The start of the schedule is the latest instant at which no query was issued early: LoadGen
    does not report it, and the harness can only be late.

    Args:
        issued_ns, due_ns: as in ``records_table``.
    """
    early = issued_ns if due_ns is None else issued_ns[: len(due_ns)] - due_ns
    return int(early.min()) if len(early) else 0


def records_table(columns: Mapping[str, np.ndarray], due_ns: np.ndarray | None = None) -> pa.Table:
    """Records as records.parquet has them: times in ns since the test's start, missing ones null.

    Args:
        columns: of ``COUNTED``, int64 (queries,).
        due_ns: int64 (queries,), when each query was due, in ns since the start of LoadGen's
            schedule; queries beyond it are left out. None when a query is due as it is issued.
    """
    start_ns = schedule_start_ns(columns["issued_ns"], due_ns)
    rows = None if due_ns is None else len(due_ns)
    arrays = {"sample_index": columns["sample_index"][:rows], "scheduled_ns": due_ns}
    for name in COUNTED[1:]:
        values = columns[name][:rows]
        missing = values == MISSING if name in NULLABLE else None
        arrays[name] = pa.array(values - start_ns if name in TIMES else values, mask=missing)
    if due_ns is None:
        arrays["scheduled_ns"] = arrays["issued_ns"]
    return pa.table(arrays)
