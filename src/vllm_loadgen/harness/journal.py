"""A test's records on their way to the disk while it runs, so that a kill loses seconds."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.records.columns import JOURNAL, SCHEMA

INTERVAL_S = 2.0


class Journal:
    """The writer of journal.arrows; use it as a context manager.

    Args:
        folder: of the test.
        sut: has the records, and the answers if it keeps them.
        due_ns: gives the due times of the first n queries; None when due as issued.
        numbers: the sample of each index, when LoadGen is given a part of them.

    Raises:
        OSError: if the disk does not take it.
    """

    def __init__(
        self,
        folder: Path,
        sut: Sut,
        due_ns: Callable[[int], np.ndarray | None],
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._sut = sut
        self._due_ns = due_ns
        self._due: np.ndarray | None = np.array([], np.int64)
        self._numbers = None if numbers is None else np.array(numbers, np.int64)
        self._issued = self._finished = 0
        self._noted_at = time.monotonic()
        self._file = pa.OSFile(str(folder / JOURNAL), "wb")
        self._stream = pa.ipc.new_stream(self._file, SCHEMA)
        pa.array(np.empty(0))  # pyarrow imports pandas at its first array: not during the test

    def note_now_and_then(self) -> None:
        """Write what is new, if the last time was some seconds ago."""
        if time.monotonic() - self._noted_at >= INTERVAL_S:
            self.note()

    def note(self) -> None:
        """Write what is new."""
        records = self._sut.records
        # In this order: what has been completed has been issued.
        finished = np.array(records.finished[self._finished :], np.int64)
        issued = records.issued_since(self._issued)
        rows = np.arange(self._issued, self._issued + len(issued["issued_ns"]))
        self._write(rows, issued)
        self._issued += len(rows)
        self._write(finished, records.of(finished), self._sut.answers)
        self._finished += len(finished)
        self._noted_at = time.monotonic()

    def _write(
        self,
        rows: np.ndarray,
        columns: dict[str, np.ndarray],
        answers: dict[int, Sequence[int]] | None = None,
    ) -> None:
        if not len(rows):
            return
        if self._numbers is not None:
            columns["sample_index"] = self._numbers[columns["sample_index"]]
        missing = pa.nulls(len(rows))
        # A query that was refused has no answer.
        taken = [answers.pop(row, None) for row in rows.tolist()] if answers else missing
        due = self._due_of(rows)
        batch = {"row": rows, "due_ns": missing if due is None else due, **columns, "answer": taken}
        self._stream.write_batch(pa.RecordBatch.from_pydict(batch, SCHEMA))

    def _due_of(self, rows: np.ndarray) -> np.ndarray | None:
        if self._due is not None and rows.max() >= len(self._due):
            self._due = self._due_ns(2 * (int(rows.max()) + 1))
        return None if self._due is None else self._due[rows]

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
