"""The SUT under engines that answer in any order: each query is told once, and so is the disk."""

import asyncio
import ctypes

import mlperf_loadgen
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.facts.tables import read_journal, records_frame
from vllm_loadgen.engines.base import Engine
from vllm_loadgen.harness.journal import Journal
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.records.columns import JOURNAL

PROMPTS = [[0] * length for length in (3, 9, 5, 7, 1)]
# What happens next, and to which of the queries that it can happen to.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["issue", "first", "first", "done", "done", "refuse", "turn", "note"]),
        st.integers(0, 6),
    ),
    max_size=40,
)


class AnyOrder(Engine):
    """Answers whichever query it is told to."""

    def __init__(self):
        self.rows, self.begun, self.most = [], {}, 0

    async def start(self):
        return {}

    def submit(self, row, prompt, sink, most_tokens=None):
        self.rows.append(row)
        self.most = max(self.most, len(self.rows) + len(self.begun))

    async def stop(self):
        pass


class Course:
    """One test: LoadGen issues and notes what it is told; the engine answers."""

    def __init__(self, concurrency, longest_first):
        self.loop, self.engine = asyncio.new_event_loop(), AnyOrder()
        self.sut = Sut(self.engine, PROMPTS, self.loop, concurrency, longest_first, True)
        self.issued, self.answers, self.refused = 0, {}, set()
        self.calls = []  # (call, LoadGen's id, tokens as they lie in memory during the call)

    def told(self, call, responses):
        for one in responses:
            raw = ctypes.string_at(one.data, one.size) if one.size else b""
            tokens = memoryview(raw).cast("i").tolist()
            assert len(tokens) == one.n_tokens
            self.calls.append((call, one.id, tokens))

    def run(self, steps, journal):
        for what, which in steps:
            self.step(what, which, journal)
        while len(self.answers) + len(self.refused) < self.issued:
            for what in ("turn", "first", "done"):
                self.step(what, 0, journal)
        self.step("turn", 0, journal)
        journal.note()
        self.loop.close()

    def step(self, what, which, journal):
        engine, sut = self.engine, self.sut
        if what == "issue":
            rows = range(self.issued, self.issued + which + 1)
            self.issued = rows.stop
            # Ids as large as LoadGen's, which are addresses.
            sut.issue([2**63 + row for row in rows], [row % len(PROMPTS) for row in rows])
        elif what == "turn":
            for _ in range(3):
                self.loop.run_until_complete(asyncio.sleep(0))
        elif what == "note":
            journal.note()
        elif what == "first" and engine.rows:
            row = engine.rows.pop(which % len(engine.rows))
            engine.begun[row] = [row, -row]
            sut.first(row, row, row or None)
        elif what == "done" and engine.begun:
            row = list(engine.begun)[which % len(engine.begun)]
            self.answers[row] = engine.begun.pop(row)[: 1 + which % 2]
            sut.done(row, self.answers[row][1:])
        elif what == "refuse" and (either := [*engine.rows, *engine.begun]):
            row = either[which % len(either)]
            self.refused.add(row)
            engine.begun.pop(row, None)
            engine.rows = [one for one in engine.rows if one != row]
            sut.refuse(row, ValueError("no"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("journal")


@given(st.one_of(st.none(), st.integers(1, 4)), st.booleans(), STEPS)
def test_each_query_is_told_once_whatever_the_engine_does(folder, concurrency, longest, steps):
    course = Course(concurrency, longest)
    with pytest.MonkeyPatch.context() as patch:
        for call in ("FirstTokenComplete", "QuerySamplesComplete"):
            patch.setattr(
                mlperf_loadgen, call, lambda responses, call=call: course.told(call, responses)
            )
        with Journal(folder, course.sut, lambda queries: None) as journal:
            course.run(steps, journal)
    _check_what_loadgen_was_told(course)
    _check_what_the_records_say(course, read_journal(folder / JOURNAL))
    assert course.sut.failure is None
    assert course.engine.most <= (concurrency or course.issued)


def _check_what_loadgen_was_told(course):
    firsts = [(id_ - 2**63, tokens) for call, id_, tokens in course.calls if call[0] == "F"]
    dones = {id_ - 2**63: tokens for call, id_, tokens in course.calls if call[0] == "Q"}
    assert len(course.calls) - len(firsts) == course.issued  # each once
    assert dones == course.answers | {row: [] for row in course.refused}
    assert set(course.answers) <= {row for row, _ in firsts}
    assert all(tokens == [row] for row, tokens in firsts)
    assert len(dict(firsts)) == len(firsts)
    order = [(call, id_) for call, id_, _ in course.calls]
    for row, _ in firsts:
        ids = 2**63 + row
        assert order.index(("FirstTokenComplete", ids)) < order.index(("QuerySamplesComplete", ids))


def _check_what_the_records_say(course, journaled):
    records = records_frame(course.sut.records.table())
    assert sorted(course.sut.records.finished) == list(range(course.issued))
    assert records["sample_index"].tolist() == [row % len(PROMPTS) for row in range(course.issued)]
    assert records["output_tokens"].tolist() == [
        len(course.answers.get(row, [])) for row in range(course.issued)
    ]
    begun = records.dropna(subset="first_token_ns")
    assert (begun["issued_ns"] <= begun["first_token_ns"]).all()
    assert (begun["first_token_ns"] <= begun["done_ns"]).all()
    # The disk has the same, however often it was written to.
    assert journaled.records.equals(records)
    samples = {}
    for row in course.sut.records.finished:
        if row in course.answers:
            samples[row % len(PROMPTS)] = course.answers[row]
    assert journaled.answers == samples
