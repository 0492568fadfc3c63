from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import THREE, make_records

from loadgen_study.facts.tables import read_records, records_frame, write_frame
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_table
from vllm_loadgen.harness.records import Recorder


def test_times_count_from_the_start_of_the_schedule(tmp_path):
    recorder = Recorder()
    recorder.add(4, 1_000_500, 30)
    recorder.add(2, 1_002_100, 40)
    recorder.first_token_ns[0] = 1_003_000
    recorder.done_ns[0] = 1_009_000
    # Due at 0 and 2000 ns and issued 1600 ns apart: the second was in time at the latest, so the
    # first was 400 ns late.
    frame = records_frame(recorder.table(np.array([0, 2000])))
    assert frame["scheduled_ns"].tolist() == [0, 2000]
    assert frame["issued_ns"].tolist() == [400, 2000]
    assert frame["first_token_ns"][0] == 2900
    assert pd.isna(frame["done_ns"][1])
    assert frame["started_ns"].isna().all()
    for write, rows in ((write_frame, frame), (write_table, recorder.table(np.array([0, 2000])))):
        write(tmp_path / "r.parquet", rows)
        pd.testing.assert_frame_equal(read_records(tmp_path / "r.parquet"), frame)


def test_without_a_schedule_a_query_is_due_when_issued():
    recorder = Recorder()
    recorder.add(0, 500, 1)
    recorder.add(0, 700, 1)
    frame = records_frame(recorder.table(None))
    assert frame["scheduled_ns"].tolist() == frame["issued_ns"].tolist() == [0, 200]


def test_queries_issued_after_the_schedule_was_made_are_left_out():
    recorder = Recorder()
    for issued_ns in (1000, 3000, 9000):
        recorder.add(0, issued_ns, 1)
    frame = records_frame(recorder.table(np.array([0, 2000])))
    assert frame["scheduled_ns"].tolist() == [0, 2000]


def test_the_live_ttft_counts_from_send():
    """At fixed concurrency all queries are issued at once, and most wait for their turn."""
    recorder = Recorder()
    assert recorder.recent_ms() == (None, None)
    for row in range(3):
        recorder.add(0, 0, 1)
        recorder.given_ns[row] = row * 10**9
    recorder.first_token_ns[1] = 10**9 + 5 * 10**6
    recorder.done_ns[1] = 10**9 + 25 * 10**6
    recorder.output_tokens[1] = 11
    assert recorder.recent_ms() == (5.0, 2.0)


def test_no_queries_at_all():
    assert records_frame(Recorder().table(None)).empty


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("done_ns", ["a", "b", "c"], "done_ns holds no whole numbers"),
        ("done_ns", [0.5, 1.0, 2.0], "done_ns holds no whole numbers"),
        ("input_tokens", [[1], [2], []], "input_tokens holds no whole numbers"),
        ("output_tokens", [2**60] * 3, "holds numbers that no test has"),
    ],
)
def test_records_of_something_else_are_one_error(tmp_path, column, values, words):
    make_records(THREE).assign(**{column: values}).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(BenchmarkError, match=words):
        read_records(tmp_path / "r.parquet")


@pytest.mark.parametrize("notes", [b"[]", b"{}", b'{"columns": 5}', b"\xff"])
def test_records_with_damaged_notes_of_pandas_are_one_error(tmp_path, notes):
    table = pa.Table.from_pandas(make_records(THREE)).replace_schema_metadata({"pandas": notes})
    pq.write_table(table, tmp_path / "r.parquet")
    with suppress(BenchmarkError):
        assert len(read_records(tmp_path / "r.parquet")) == 3
