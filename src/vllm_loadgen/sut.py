"""LoadGen's queries to an engine, the engine's answers to LoadGen; nothing else."""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

import mlperf_loadgen as lg

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.records import Recorder


class Sut:
    """The system under test.

    A query's way: LoadGen's thread calls ``issue``, which only notes it and wakes the loop;
    the loop's thread hands it to the engine, takes the answers, and alone calls LoadGen
    (from two threads LoadGen could see a completion before its first token).

    Args:
        engine: a started engine.
        prompts: token ids of each sample, by QSL index.
        loop: the engine's event loop, running in its own thread.
        on_failure: called once, on the loop's thread, if a query cannot be answered. LoadGen
            would wait for it for ever, so the test must be given up.
    """

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Sequence[int]],
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.records = Recorder()
        self._engine = engine
        self._prompts = prompts
        self._loop = loop
        self._on_failure = on_failure
        self._failed = False
        self._inbox: deque[tuple[list[int], list[int], int]] = deque()
        self._awake = False
        self._ids: list[int] = []
        self._first_tokens: dict[int, int] = {}
        self._new_first: list[int] = []
        self._new_done: list[tuple[int, Sequence[int]]] = []
        self._flush_due = False
        self.first_count = 0
        self.done_count = 0
        self.token_count = 0

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
        # Cleared before the queue is read: a query that comes meanwhile wakes the loop anew.
        self._awake = False
        while self._inbox:
            ids, indices, issued_ns = self._inbox.popleft()
            for query_id, index in zip(ids, indices, strict=True):
                prompt = self._prompts[index]
                row = self.records.add(index, issued_ns, len(prompt))
                self._ids.append(query_id)
                self._engine.submit(row, prompt, self)

    def first(self, row: int, token: int, started_ns: int | None) -> None:
        """An engine's first token (see ``Sink``)."""
        if started_ns is not None:
            self.records.started_ns[row] = started_ns
        self._first_tokens[row] = token
        self._new_first.append(row)
        self._flush_soon()

    def done(self, row: int, rest: Sequence[int]) -> None:
        """An engine's full answer (see ``Sink``)."""
        self._new_done.append((row, rest))
        self._flush_soon()

    def failed(self, row: int, error: BaseException) -> None:
        """An engine's failure (see ``Sink``)."""
        if not self._failed:
            self._failed = True
            self._on_failure(error)

    def _flush_soon(self) -> None:
        # One LoadGen call for all that the loop's current pass brings; it delays none of them.
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._tell_loadgen)

    def _tell_loadgen(self) -> None:
        self._flush_due = False
        firsts, self._new_first = self._new_first, []
        dones, self._new_done = self._new_done, []
        if firsts:
            self._tell_firsts(firsts)
        if dones:
            self._tell_dones(dones)

    def _tell_firsts(self, rows: list[int]) -> None:
        tokens = array("i", [self._first_tokens[row] for row in rows])
        address, _ = tokens.buffer_info()
        size = tokens.itemsize
        now_ns = time.monotonic_ns()
        responses = []
        for place, row in enumerate(rows):
            self.records.first_token_ns[row] = now_ns
            responses.append(
                lg.QuerySampleResponse(self._ids[row], address + place * size, size, 1)
            )
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
            address, length = answer.buffer_info()
            responses.append(
                lg.QuerySampleResponse(self._ids[row], address, length * answer.itemsize, length)
            )
        lg.QuerySamplesComplete(responses)
        self.done_count += len(dones)
