"""An engine without a model: it answers with the prompt's own tokens after a set time.

Where tokens are to be sampled, it drops some of them at random.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_loadgen.engines.base import Engine, Sink
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.sampling import GREEDY, Sampling

DROPPED_SHARE = 0.1


def make(params: TestParams, model_path: str, key: str) -> "EchoEngine":
    """See ``EngineTraits.make``."""
    return EchoEngine(params.max_new_tokens, **params.engine_options, sampling=params.sampling)


@dataclass(eq=False)
class EchoEngine(Engine):
    """Answers in a set time, to test the SUT and to find the harness's own ceiling.

    Attributes:
        max_new_tokens: tokens of an answer, unless the prompt is shorter.
        ttft_ms: time from start of a query to its first token.
        tpot_ms: time for each further token.
        slots: most queries served at once, others wait; 0: unlimited, 1: a serial engine.
        output_tokens: tokens of an answer, in place of ``max_new_tokens``; 0 leaves it.
        fail_at: at the query with this number the engine dies; -1 for none.
        refuse_at: the query with this number is refused; -1 for none.
        drop_every: leaves out each token of the prompt whose place is a multiple of this, to
            imitate an option that is fast and wrong; 0: none.
        sampling: by its temperature tokens are dropped, at 1.0 a tenth.
    """

    max_new_tokens: int
    ttft_ms: float = 0.0
    tpot_ms: float = 0.0
    slots: int = 0
    output_tokens: int = 0
    fail_at: int = -1
    refuse_at: int = -1
    drop_every: int = 0
    sampling: Sampling = GREEDY
    _busy: int = field(default=0, init=False)
    _served: int = field(default=0, init=False)
    _waiting: deque[tuple[int, Sequence[int], Sink]] = field(default_factory=deque, init=False)

    async def start(self) -> EngineFacts:
        self._loop = asyncio.get_running_loop()
        return EngineFacts(engine="echo", max_num_seqs=self.slots or None)

    def submit(
        self, row: int, prompt: Sequence[int], sink: Sink, most_tokens: int | None = None
    ) -> None:
        length = self.output_tokens or self.max_new_tokens
        tokens = prompt if self.sampling.greedy else self._sampled(row, prompt)
        if every := self.drop_every:
            tokens = [token for at, token in enumerate(tokens) if at == 0 or (at + 1) % every]
        answer = tokens[: min(length, most_tokens or length)]
        if self.slots and self._busy >= self.slots:
            self._waiting.append((row, answer, sink))
        else:
            self._serve(row, answer, sink)

    def _sampled(self, row: int, prompt: Sequence[int]) -> Sequence[int]:
        """The first token, and of the others those that are not dropped."""
        draw = random.Random(self.sampling.seed_of(row)).random
        dropped = self.sampling.temperature * DROPPED_SHARE
        return [token for at, token in enumerate(prompt) if at == 0 or draw() >= dropped]

    def _serve(self, row: int, answer: Sequence[int], sink: Sink) -> None:
        number = self._served
        self._busy += 1
        self._served += 1
        if number == self.fail_at:
            sink.failed(RuntimeError("the echo engine fails here, as requested"))
            return
        if number == self.refuse_at:
            sink.refuse(row, ValueError("the echo engine refuses this, as requested"))
            self._release()
            return
        started_ns = time.monotonic_ns()
        if self.ttft_ms:
            self._loop.call_later(self.ttft_ms / 1000, self._first, row, answer, sink, started_ns)
        else:
            self._first(row, answer, sink, started_ns)

    def _first(self, row: int, answer: Sequence[int], sink: Sink, started_ns: int) -> None:
        sink.first(row, answer[0], started_ns)
        if self.tpot_ms:
            delay_s = self.tpot_ms / 1000 * (len(answer) - 1)
            self._loop.call_later(delay_s, self._done, row, answer[1:], sink)
        else:
            self._done(row, answer[1:], sink)

    def _done(self, row: int, rest: Sequence[int], sink: Sink) -> None:
        sink.done(row, rest)
        self._release()

    def _release(self) -> None:
        """Free a slot, or hand it to the query that waits longest: none that comes now gets it."""
        if self._waiting:
            # A callback of its own: a long queue served at once must not nest calls.
            self._loop.call_soon(self._serve_next)
        else:
            self._busy -= 1

    def _serve_next(self) -> None:
        self._busy -= 1
        if self._waiting:  # not stopped meanwhile
            self._serve(*self._waiting.popleft())

    async def stop(self) -> None:
        self._waiting.clear()
