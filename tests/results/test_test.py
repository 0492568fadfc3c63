"""A test that somebody damaged, read: one line and no figure."""

import pytest
from helpers import RESULT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from vllm_loadgen import BenchmarkError

ROWS = [(i, i, i, i + 0.5, i + 1, 9, 5) for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    made = write_facts(tmp_path / "run", RunParams())
    return write_test(made / "performance", RESULT | {"queries": 4}, make_records(ROWS))


def read(folder):
    return Run.open(folder.parent).test("performance").metrics


def test_a_whole_test_is_read(folder):
    assert read(folder).samples == 4


def test_a_test_that_was_killed_is_read_as_interrupted(folder):
    write_test(folder, RESULT | {"status": "running", "queries": 0}, make_records(ROWS))
    result = Run.open(folder.parent).test("performance").result
    assert (result.status, result.queries) == ("interrupted", 4)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_damaged_records_are_one_line(folder, content):
    (folder / "records.parquet").write_bytes(content)
    with pytest.raises(BenchmarkError, match=r"records\.parquet cannot be read") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_lost_records_are_one_line(folder):
    (folder / "records.parquet").unlink()
    with pytest.raises(BenchmarkError, match=r"records\.parquet cannot be read"):
        read(folder)


def test_records_without_a_column_are_none(folder):
    make_records(ROWS).drop(columns="done_ns").to_parquet(folder / "records.parquet")
    with pytest.raises(BenchmarkError, match="it lacks done_ns"):
        read(folder)


def test_half_of_the_records_are_not_the_test(folder):
    make_records(ROWS[:2]).to_parquet(folder / "records.parquet")
    with pytest.raises(BenchmarkError, match="has 2 of 4 queries"):
        read(folder)


def test_times_before_the_start_are_no_times(folder):
    frame = make_records(ROWS)
    frame["done_ns"] = -frame["done_ns"]
    frame.to_parquet(folder / "records.parquet")
    with pytest.raises(BenchmarkError, match="before the test's start"):
        read(folder)


@pytest.mark.parametrize("name", ["telemetry", "engine_steps"])
def test_a_damaged_table_beside_them_is_one_line(folder, name):
    (folder / f"{name}.parquet").write_bytes(b"x")
    test = Run.open(folder.parent).test("performance")
    with pytest.raises(BenchmarkError, match=f"{name}.parquet cannot be read"):
        _ = test.telemetry if name == "telemetry" else test.steps
