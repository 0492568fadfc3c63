import asyncio

import mlperf_loadgen
import pytest

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.records.columns import MISSING

PROMPTS = [[0] * length for length in (3, 9, 5, 7)]


class Held(Engine):
    """Answers a query when told to."""

    def __init__(self):
        self.rows = []

    async def start(self):
        return {}

    def submit(self, row, prompt, sink, most_tokens=None):
        self.rows.append(row)
        self.sink = sink

    async def stop(self):
        pass


@pytest.fixture
def told(monkeypatch):
    """What LoadGen is told, as (call, ids)."""
    calls = []
    for name in ("FirstTokenComplete", "QuerySamplesComplete"):

        def note(responses, name=name):
            calls.append((name, [response.id for response in responses]))

        monkeypatch.setattr(mlperf_loadgen, name, note)
    return calls


def drive(sut, loop, ids, indices):
    sut.issue(ids, indices)
    turn(loop)


def turn(loop):
    """Let the loop do all that is due."""
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))


def test_first_tokens_and_answers_are_told_in_one_call_each(told):
    loop, engine = asyncio.new_event_loop(), Held()
    sut = Sut(engine, PROMPTS, loop)
    drive(sut, loop, [70, 71, 72], [2, 0, 3])
    for row in (0, 1, 2):
        sut.first(row, 5, None)
    sut.done(1, [6, 7])
    turn(loop)
    assert told == [("FirstTokenComplete", [70, 71, 72]), ("QuerySamplesComplete", [71])]
    assert sut.records.output_tokens.tolist() == [0, 3, 0]
    assert sut.records.input_tokens.tolist() == [5, 3, 7]


def test_no_more_queries_in_the_engine_than_allowed(told):
    loop, engine = asyncio.new_event_loop(), Held()
    sut = Sut(engine, PROMPTS, loop, concurrency=2)
    drive(sut, loop, [1, 2, 3, 4], [0, 1, 2, 3])
    assert engine.rows == [0, 1]
    sut.first(0, 5, None)
    turn(loop)
    assert engine.rows == [0, 1]
    sut.done(0, [6])
    turn(loop)
    assert engine.rows == [0, 1, 2]
    # A query counts from when it was given to the engine, not from when it was due with the others.
    issued, done = sut.records.issued_ns, sut.records.done_ns[0]
    given = sut.records.given_ns
    assert issued[2] <= given[0] <= given[1] <= done <= given[2]
    assert given[3] == MISSING


def test_long_prompts_first_within_each_pass_of_the_dataset(told):
    loop, engine = asyncio.new_event_loop(), Held()
    sut = Sut(engine, PROMPTS, loop, longest_first=True)
    drive(sut, loop, list(range(8)), [0, 1, 2, 3, 3, 2, 1, 0])
    # Lengths 3 9 5 7, then 7 5 9 3: sorted apart, as the rules forbid to sort beyond one pass.
    assert engine.rows == [1, 3, 2, 0, 6, 4, 5, 7]


def test_a_failure_is_kept_for_whoever_watches(told):
    loop, engine = asyncio.new_event_loop(), Held()
    sut = Sut(engine, PROMPTS, loop)
    drive(sut, loop, [1, 2], [0, 1])
    sut.failed(RuntimeError("first"))
    sut.failed(RuntimeError("second"))
    assert str(sut.failure) == "first"


def test_a_refused_query_is_answered_without_a_token_and_makes_room(told):
    loop, engine = asyncio.new_event_loop(), Held()
    sut = Sut(engine, PROMPTS, loop, concurrency=1)
    drive(sut, loop, [70, 71], [0, 1])
    sut.first(0, 5, None)
    sut.refuse(0, ValueError("too long"))
    turn(loop)
    assert told == [("FirstTokenComplete", [70]), ("QuerySamplesComplete", [70])]
    assert sut.refused == {0: "ValueError: too long"}
    assert (sut.records.output_tokens[0], sut.records.done_ns[0] > 0) == (0, True)
    assert engine.rows == [0, 1]
    assert sut.failure is None


def test_answers_are_kept_only_when_asked_for(told):
    loop, engine = asyncio.new_event_loop(), Held()
    for keep, kept in ((True, [5, 6, 7]), (False, None)):
        sut = Sut(engine, PROMPTS, loop, keep_answers=keep)
        drive(sut, loop, [1], [2])
        sut.first(0, 5, None)
        sut.done(0, [6, 7])
        turn(loop)
        assert (None if sut.answers is None else list(sut.answers[0])) == kept
