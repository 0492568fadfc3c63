"""A journal that was cut or damaged holds a beginning of the test, and reading it never fails."""

import numpy as np
import pandas as pd
import pytest
from damage import damaged_bytes, nothing_runs
from helpers import PROMPTS
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.facts.tables import read_journal
from vllm_loadgen.harness.journal import Journal
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.records.columns import JOURNAL

QUERIES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("journal")


@pytest.fixture(scope="module")
def good(folder):
    """The journal of a test, and the records in it."""
    sut = Sut(None, PROMPTS, None, keep_answers=True)
    records = sut.records
    with Journal(folder, sut, lambda queries: 1000 * np.arange(queries)) as journal:
        for row in range(QUERIES):
            records.add(row, 10**15 + 1001 * row, 7)
            if row % 3 == 2:  # so many pieces are on the disk
                journal.note()
            if row:
                records.first_token_ns[row - 1] = 10**15 + 1001 * row + 10
                records.done_ns[row - 1] = 10**15 + 1001 * row + 20
                records.output_tokens[row - 1] = 2
                sut.answers[row - 1] = [row, 5]
                records.finished.append(row - 1)
        journal.note()
    content = (folder / JOURNAL).read_bytes()
    return content, read_journal(folder / JOURNAL)


@given(data=st.data())
def test_a_cut_journal_is_a_beginning_of_the_whole_one(folder, good, data):
    content, whole = good
    path = folder / "cut.arrows"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = read_journal(path)
    rows = len(found.records)
    known = ["sample_index", "scheduled_ns", "issued_ns", "input_tokens"]
    pd.testing.assert_frame_equal(found.records[known], whole.records[known][:rows])
    answered = found.records["done_ns"].notna()
    pd.testing.assert_frame_equal(
        found.records[answered], whole.records[:rows][answered], check_dtype=False
    )
    assert found.answers.items() <= whole.answers.items()
    # A row is written when it was issued, as it is by then, and its answer behind that.
    assert set(found.answers) <= set(found.records["sample_index"][answered])


@given(data=st.data())
def test_a_damaged_journal_can_be_read(folder, good, data):
    content, _ = good
    path = folder / "damaged.arrows"
    path.write_bytes(data.draw(damaged_bytes(data.draw(damaged_bytes(content)))))
    with nothing_runs():
        found = read_journal(path)
        metrics(latencies(found.records), "Server")
    assert len(found.records) <= QUERIES
    assert all(isinstance(one, list) for one in found.answers.values())
