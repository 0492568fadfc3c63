"""One row a query: when it was due, issued, started, had its first token, was done."""

from array import array

import numpy as np
import pandas as pd

from vllm_loadgen.facts.records import NULLABLE, TIMES

MISSING = -1
COUNTS = ("input_tokens", "output_tokens")


class Recorder:
    """Columns of plain 64-bit integers that grow by one row a query (72 bytes)."""

    def __init__(self) -> None:
        names = ("sample_index", "issued_ns", *NULLABLE, *COUNTS)
        self._columns: dict[str, array[int]] = {name: array("q") for name in names}
        self.sample_index = self._columns["sample_index"]
        self.issued_ns = self._columns["issued_ns"]
        self.started_ns = self._columns["started_ns"]
        self.first_token_ns = self._columns["first_token_ns"]
        self.done_ns = self._columns["done_ns"]
        self.input_tokens = self._columns["input_tokens"]
        self.output_tokens = self._columns["output_tokens"]

    def __len__(self) -> int:
        return len(self.sample_index)

    def add(self, sample_index: int, issued_ns: int, input_tokens: int) -> int:
        """Append a query and return its row; times are those of ``time.monotonic_ns``."""
        row = len(self.sample_index)
        self.sample_index.append(sample_index)
        self.issued_ns.append(issued_ns)
        self.started_ns.append(MISSING)
        self.first_token_ns.append(MISSING)
        self.done_ns.append(MISSING)
        self.input_tokens.append(input_tokens)
        self.output_tokens.append(0)
        return row

    def start_ns(self, schedule_ns: np.ndarray | None = None) -> int:
        """The run's start by ``time.monotonic_ns``; 0 without queries.

        The start of the schedule is the latest instant at which no query was issued early:
        LoadGen does not tell it, and the harness can only be late.

        Args:
            schedule_ns: as in ``frame``.
        """
        issued = np.array(self.issued_ns)
        if schedule_ns is not None:
            # A test that was given up may still be issuing: queries after the schedule wait.
            issued = issued[: len(schedule_ns)] - schedule_ns
        return int(issued.min()) if len(issued) else 0

    def recent_ms(self, queries: int = 256) -> tuple[float | None, float | None]:
        """Mean TTFT and TPOT, ms, of the last queries, from their issue, while a test runs.

        Read beside the thread that appends: slices are copies, and rows are never taken away.
        """
        rows = len(self.output_tokens)  # the column that ``add`` appends to last
        last = slice(max(0, rows - queries), rows)
        issued, first, done = (
            np.array(column[last]) for column in (self.issued_ns, self.first_token_ns, self.done_ns)
        )
        gaps = np.array(self.output_tokens[last]) - 1
        begun, ended = first != MISSING, (done != MISSING) & (gaps > 0)
        ttft_ms = float((first - issued)[begun].mean() / 1e6) if begun.any() else None
        each_ns = (done - first)[ended] / gaps[ended]
        return ttft_ms, float(each_ns.mean() / 1e6) if ended.any() else None

    def frame(self, schedule_ns: np.ndarray | None = None) -> pd.DataFrame:
        """The records, times in ns since the run's start, missing ones null.

        Args:
            schedule_ns: int64 (queries,), when each query was due, in ns since the start of
                LoadGen's schedule; None when a query is due as it is issued (Offline: all at
                once).

        """
        rows = len(self.output_tokens) if schedule_ns is None else len(schedule_ns)
        frame = pd.DataFrame({name: np.array(c[:rows]) for name, c in self._columns.items()})
        if schedule_ns is None:
            frame.insert(1, "scheduled_ns", frame["issued_ns"])
        else:
            frame.insert(1, "scheduled_ns", self.start_ns(schedule_ns) + schedule_ns)
        start_ns = self.start_ns(schedule_ns)
        for name in TIMES:
            known = frame[name] != MISSING
            frame[name] = (frame[name] - start_ns).astype("Int64" if name in NULLABLE else "int64")
            if name in NULLABLE:
                frame.loc[~known, name] = pd.NA
        return frame
