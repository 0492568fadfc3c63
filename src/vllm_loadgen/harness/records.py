"""One row a query: when it was due, issued, given, started, had its first token, was done."""

from array import array

import numpy as np
import pyarrow as pa

from vllm_loadgen.records.columns import COUNTED, MISSING, records_table


class Recorder:
    """Columns of plain 64-bit integers that grow by one row a query (72 bytes).

    One thread appends while others may read: slices are copies, rows are never taken away.

    Attributes:
        finished: the rows in the order of their completion.
    """

    def __init__(self) -> None:
        self._columns: dict[str, array[int]] = {name: array("q") for name in COUNTED}
        self.finished: array[int] = array("q")
        self.sample_index = self._columns["sample_index"]
        self.issued_ns = self._columns["issued_ns"]
        self.given_ns = self._columns["given_ns"]
        self.started_ns = self._columns["started_ns"]
        self.first_token_ns = self._columns["first_token_ns"]
        self.done_ns = self._columns["done_ns"]
        self.input_tokens = self._columns["input_tokens"]
        self.output_tokens = self._columns["output_tokens"]

    def __len__(self) -> int:
        return len(self.sample_index)

    def add(self, sample_index: int, issued_ns: int, input_tokens: int) -> None:
        """Append a query; times are those of ``time.monotonic_ns``."""
        self.sample_index.append(sample_index)
        self.issued_ns.append(issued_ns)
        self.given_ns.append(MISSING)
        self.started_ns.append(MISSING)
        self.first_token_ns.append(MISSING)
        self.done_ns.append(MISSING)
        self.input_tokens.append(input_tokens)
        self.output_tokens.append(0)

    def issued_since(self, row: int) -> dict[str, np.ndarray]:
        """The columns from this row on, as they are now."""
        end = len(self.output_tokens)  # the column that ``add`` appends to last
        return {name: np.array(column[row:end]) for name, column in self._columns.items()}

    def of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The columns of these rows, int64 (queries,), as they are now."""
        # Rows that are read together lie together: a copied piece costs less than a loop over rows.
        low, end = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
        return {
            name: np.array(column[low:end])[rows - low] for name, column in self._columns.items()
        }

    def recent_ms(self, queries: int = 256) -> tuple[float | None, float | None]:
        """Mean TTFT from send and TPOT, ms, of the last queries, while a test runs."""
        rows = len(self.output_tokens)  # the column that ``add`` appends to last
        last = slice(max(0, rows - queries), rows)
        given, first, done = (
            np.array(column[last]) for column in (self.given_ns, self.first_token_ns, self.done_ns)
        )
        gaps = np.array(self.output_tokens[last]) - 1
        begun, ended = first != MISSING, (done != MISSING) & (gaps > 0)
        ttft_ms = float((first - given)[begun].mean() / 1e6) if begun.any() else None
        each_ns = (done - first)[ended] / gaps[ended]
        return ttft_ms, float(each_ns.mean() / 1e6) if ended.any() else None

    def table(self, due_ns: np.ndarray | None = None) -> pa.Table:
        """The records (see ``records_table``); a test that was given up may still be issuing."""
        return records_table(self.issued_since(0), due_ns)
