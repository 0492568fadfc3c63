import asyncio
from functools import partial

import mlperf_loadgen
import numpy as np
import pandas as pd
import pytest
from helpers import PROMPTS, echo_params

from loadgen_study.facts.tables import read_journal, records_frame
from vllm_loadgen.engines.echo import EchoEngine
from vllm_loadgen.harness.journal import Journal
from vllm_loadgen.harness.loadgen import planned_ns
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.records.columns import JOURNAL


@pytest.fixture
def loop(monkeypatch):
    for name in ("FirstTokenComplete", "QuerySamplesComplete"):
        monkeypatch.setattr(mlperf_loadgen, name, lambda responses: None)
    return asyncio.new_event_loop()


def ask(sut, loop, ids, indices):
    sut.issue(ids, indices)
    for _ in range(4):
        loop.run_until_complete(asyncio.sleep(0))


def echo(loop, **options):
    engine = EchoEngine(4, **options)
    loop.run_until_complete(engine.start())
    return engine


def test_what_was_noted_is_what_the_records_say(tmp_path, loop):
    sut = Sut(echo(loop), PROMPTS, loop, keep_answers=True)
    due_ns = partial(planned_ns, echo_params(), 7)
    with Journal(tmp_path, sut, due_ns) as journal:
        ask(sut, loop, [1, 2], [3, 0])
        journal.note()
        ask(sut, loop, [3, 4, 5], [1, 2, 4])
        journal.note()
        journal.note()
    found = read_journal(tmp_path / JOURNAL)
    pd.testing.assert_frame_equal(found.records, records_frame(sut.records.table(due_ns(5))))
    assert found.answers == {index: PROMPTS[index][:4] for index in range(5)}
    assert sut.answers == {}


def test_a_query_is_there_from_its_issue_on(tmp_path, loop):
    sut = Sut(echo(loop, slots=1, ttft_ms=1e6), PROMPTS, loop)
    with Journal(tmp_path, sut, lambda queries: None) as journal:
        ask(sut, loop, [1, 2], [3, 0])
        journal.note()
    found = read_journal(tmp_path / JOURNAL)
    assert found.records["sample_index"].tolist() == [3, 0]
    assert found.records["done_ns"].isna().all()
    assert found.answers == {}


def test_samples_of_a_part_are_noted_by_their_number_in_the_whole(tmp_path, loop):
    sut = Sut(echo(loop), PROMPTS[10:], loop, keep_answers=True)
    with Journal(tmp_path, sut, lambda queries: None, list(range(10, 16))) as journal:
        ask(sut, loop, [1, 2], [0, 5])
        journal.note()
    found = read_journal(tmp_path / JOURNAL)
    assert found.records["sample_index"].tolist() == [10, 15]
    assert found.answers == {10: PROMPTS[10][:4], 15: PROMPTS[15][:4]}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_journal_that_was_cut_holds_what_came_before(tmp_path, loop, share):
    sut = Sut(echo(loop), PROMPTS, loop)
    with Journal(tmp_path, sut, lambda queries: np.zeros(queries, np.int64)) as journal:
        for number in range(10):
            ask(sut, loop, [number], [number])
            journal.note()
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    found = read_journal(path).records
    assert found["sample_index"].tolist() == list(range(len(found)))
    assert share * 10 - 2 <= len(found) <= share * 10
    pd.testing.assert_frame_equal(
        found.dropna(),
        records_frame(sut.records.table(np.zeros(10, np.int64)))[: found["done_ns"].count()],
    )


def test_a_refused_query_of_an_accuracy_test_is_noted_without_an_answer(tmp_path, loop):
    sut = Sut(echo(loop, refuse_at=1), PROMPTS, loop, keep_answers=True)
    with Journal(tmp_path, sut, lambda queries: None) as journal:
        ask(sut, loop, [1, 2, 3], [3, 0, 5])
        journal.note()
    found = read_journal(tmp_path / JOURNAL)
    assert found.answers == {3: PROMPTS[3][:4], 5: PROMPTS[5][:4]}
    assert found.records["done_ns"].notna().all()


@pytest.mark.parametrize("value", [4, 128])
def test_a_journal_of_which_a_byte_has_changed_can_be_read(tmp_path, loop, value):
    sut = Sut(echo(loop), PROMPTS, loop)
    with Journal(tmp_path, sut, lambda queries: None) as journal:
        ask(sut, loop, [1], [0])
        journal.note()
    path, content = tmp_path / JOURNAL, (tmp_path / JOURNAL).read_bytes()
    for at in (*range(0, 800, 4), 735):  # in the schema, and the head of the first piece
        path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
        assert len(read_journal(path).records) <= 1


def test_no_journal_at_all(tmp_path):
    found = read_journal(tmp_path / JOURNAL)
    assert found.records.empty
    assert found.answers == {}
