"""LoadGen's queries to an engine, the engine's answers to LoadGen; nothing else."""

import asyncio
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterable, Sequence

import mlperf_loadgen as lg

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.harness.records import Recorder


class Sut:
    """The system under test.

    A query's way: LoadGen's thread calls ``issue``, which only notes it and wakes the loop;
    the loop's thread hands it to the engine, takes the answers, and alone calls LoadGen
    (from two threads LoadGen could see a completion before its first token).

    Args:
        engine: a started engine.
        prompts: token ids of each sample, by QSL index.
        loop: the engine's event loop, running in its own thread.
        concurrency: most queries in the engine at once; others wait here. None: no limit.
        longest_first: queries that come together go to the engine by falling prompt length,
            within each pass of the dataset (the rules forbid to sort beyond one).
        keep_answers: hold each answer in ``answers`` until somebody takes it from there.

    Attributes:
        answers: token ids by row; None unless they are kept.
        refused: the engine's reason for each query that it would not answer.
        failure: why the test cannot go on: LoadGen would wait for ever, so whoever watches the
            test must give it up.
    """

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Sequence[int]],
        loop: asyncio.AbstractEventLoop,
        concurrency: int | None = None,
        longest_first: bool = False,
        keep_answers: bool = False,
        most_tokens: int | None = None,
    ) -> None:
        self.records = Recorder()
        self._engine = engine
        self._prompts = prompts
        self._loop = loop
        self._concurrency = concurrency or sys.maxsize
        self._longest_first = longest_first
        self._most_tokens = most_tokens
        self._waiting: deque[int] = deque()
        self._in_engine = 0
        self._inbox: deque[tuple[list[int], list[int], int]] = deque()
        self._awake = False
        self._ids = array("Q")  # LoadGen's, by row
        self._first_tokens: dict[int, int] = {}
        self._new_first: list[int] = []
        self._new_done: list[tuple[int, Sequence[int]]] = []
        self._new_refused: list[int] = []
        self._flush_due = False
        self._closed = False
        self.answers: dict[int, Sequence[int]] | None = {} if keep_answers else None
        self.refused: dict[int, str] = {}
        self.failure: BaseException | None = None
        self.first_count = 0
        self.done_count = 0
        self.token_count = 0

    @property
    def progress(self) -> int:
        """A number that rises with each sign of life of the engine."""
        return self.first_count + self.done_count + self._engine.progress()

    # LoadGen's thread -----------------------------------------------------------------------
    def issue(self, ids: list[int], indices: list[int]) -> None:
        """LoadGen's callback: returns at once, since time spent here delays later arrivals."""
        self._inbox.append((ids, indices, time.monotonic_ns()))
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._drain)

    def flush(self) -> None:
        """LoadGen's flush: nothing is held back, so there is nothing to do."""

    # The loop's thread ----------------------------------------------------------------------
    def _drain(self) -> None:
        # Cleared before the queue is read: a query that comes meanwhile wakes the loop again.
        self._awake = False
        while self._inbox:
            ids, indices, issued_ns = self._inbox.popleft()
            begin = len(self._ids)
            for query_id, index in zip(ids, indices, strict=True):
                self.records.add(index, issued_ns, len(self._prompts[index]))
                self._ids.append(query_id)
            self._waiting.extend(self._ordered(range(begin, len(self._ids))))
        self._feed()

    def _ordered(self, rows: range) -> Iterable[int]:
        if not self._longest_first:
            return rows
        lengths, one_pass = self.records.input_tokens, len(self._prompts)
        parts = [rows[at : at + one_pass] for at in range(0, len(rows), one_pass)]
        return (row for part in parts for row in sorted(part, key=lambda r: -lengths[r]))

    def _feed(self) -> None:
        while self._waiting and self._in_engine < self._concurrency:
            row = self._waiting.popleft()
            self._in_engine += 1
            self.records.given_ns[row] = time.monotonic_ns()
            prompt = self._prompts[self.records.sample_index[row]]
            self._engine.submit(row, prompt, self, self._most_tokens)

    # The engine's answers (see ``Sink``).
    def first(self, row: int, token: int, started_ns: int | None) -> None:
        if started_ns is not None:
            self.records.started_ns[row] = started_ns
        self._first_tokens[row] = token
        self._new_first.append(row)
        self._flush_soon()

    def done(self, row: int, rest: Sequence[int]) -> None:
        self._new_done.append((row, rest))
        self._in_engine -= 1
        self._flush_soon()

    def refuse(self, row: int, error: BaseException) -> None:
        self.refused[row] = describe(error)
        self._new_refused.append(row)
        self._in_engine -= 1
        self._flush_soon()

    def failed(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def close(self) -> None:
        """Record no more answers: the test was given up. Call it on the loop's thread."""
        self._closed = True

    def _flush_soon(self) -> None:
        # One LoadGen call for all that the loop's current pass brings; it delays none of them.
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._tell_loadgen)

    def _tell_loadgen(self) -> None:
        if self._closed:
            return
        self._flush_due = False
        firsts, self._new_first = self._new_first, []
        dones, self._new_done = self._new_done, []
        refused, self._new_refused = self._new_refused, []
        if firsts:
            self._tell_firsts(firsts)
        if dones:
            self._tell_dones(dones)
        if refused:
            self._tell_refused(refused)
        if dones or refused:
            self._feed()

    def _tell_firsts(self, rows: list[int]) -> None:
        tokens = array("i", [self._first_tokens[row] for row in rows])
        address, size = tokens.buffer_info()[0], tokens.itemsize
        now_ns = time.monotonic_ns()
        responses = []
        for at, row in enumerate(rows):
            self.records.first_token_ns[row] = now_ns
            responses.append(lg.QuerySampleResponse(self._ids[row], address + at * size, size, 1))
        lg.FirstTokenComplete(responses)
        self.first_count += len(rows)

    def _tell_dones(self, dones: list[tuple[int, Sequence[int]]]) -> None:
        responses, answers = [], []
        now_ns = time.monotonic_ns()
        for row, rest in dones:
            answer = array("i", (self._first_tokens.pop(row), *rest))
            answers.append(answer)  # LoadGen copies the bytes during the call, not after it
            self.records.done_ns[row] = now_ns
            self.records.output_tokens[row] = len(answer)
            self.token_count += len(answer)
            if self.answers is not None:
                self.answers[row] = answer
            address, length = answer.buffer_info()
            size = length * answer.itemsize
            responses.append(lg.QuerySampleResponse(self._ids[row], address, size, length))
        lg.QuerySamplesComplete(responses)
        self.done_count += len(dones)
        self.records.finished.extend(row for row, _ in dones)

    def _tell_refused(self, rows: list[int]) -> None:
        """LoadGen waits for every query, so it is given an answer without a token."""
        now_ns = time.monotonic_ns()
        for row in rows:
            self._first_tokens.pop(row, None)
            self.records.done_ns[row] = now_ns
        lg.QuerySamplesComplete([lg.QuerySampleResponse(self._ids[row], 0, 0, 0) for row in rows])
        self.done_count += len(rows)
        self.records.finished.extend(rows)


def describe(error: BaseException) -> str:
    """An exception as one line; the message alone may be empty."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
