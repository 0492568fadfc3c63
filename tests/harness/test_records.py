import numpy as np
import pandas as pd

from vllm_loadgen.facts.records import read_records
from vllm_loadgen.files import write_frame
from vllm_loadgen.harness.records import Recorder


def test_times_count_from_the_start_of_the_schedule(tmp_path):
    recorder = Recorder()
    recorder.add(4, 1_000_500, 30)
    recorder.add(2, 1_002_100, 40)
    recorder.first_token_ns[0] = 1_003_000
    recorder.done_ns[0] = 1_009_000
    # Due at 0 and 2000 ns and issued 1600 ns apart: the second was in time at the latest, so the
    # first was 400 ns late.
    frame = recorder.frame(np.array([0, 2000]))
    assert frame["scheduled_ns"].tolist() == [0, 2000]
    assert frame["issued_ns"].tolist() == [400, 2000]
    assert frame["first_token_ns"][0] == 2900
    assert pd.isna(frame["done_ns"][1])
    assert frame["started_ns"].isna().all()
    write_frame(tmp_path / "r.parquet", frame)
    pd.testing.assert_frame_equal(read_records(tmp_path / "r.parquet"), frame)


def test_without_a_schedule_a_query_is_due_when_issued():
    recorder = Recorder()
    recorder.add(0, 500, 1)
    recorder.add(0, 700, 1)
    frame = recorder.frame(None)
    assert frame["scheduled_ns"].tolist() == frame["issued_ns"].tolist() == [0, 200]


def test_queries_issued_after_the_schedule_was_made_are_left_out():
    recorder = Recorder()
    for issued_ns in (1000, 3000, 9000):
        recorder.add(0, issued_ns, 1)
    frame = recorder.frame(np.array([0, 2000]))
    assert frame["scheduled_ns"].tolist() == [0, 2000]


def test_no_queries_at_all():
    assert Recorder().frame(None).empty
