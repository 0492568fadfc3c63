"""vLLM asked at chosen moments, without LoadGen, in a process of its own (forked.py)."""

import asyncio
import sys
import time
from multiprocessing.connection import Connection

from vllm_loadgen.engines.vllm import VllmEngine

# The first is read for long enough that all others wait for the next step together.
LENGTHS, ANSWER = [700, 150, 160, 170, 180], 4


class Watch:
    """A sink that keeps the time of each answer's begin and end, s."""

    def __init__(self):
        self.first_s, self.done_s, self.all = {}, {}, asyncio.Event()

    def first(self, row, token, started_ns):
        self.first_s[row] = time.monotonic()

    def done(self, row, rest):
        assert len(rest) == ANSWER - 1
        self.done_s[row] = time.monotonic()
        if len(self.done_s) == len(LENGTHS):
            self.all.set()

    def refuse(self, row, error):
        raise error

    failed = refuse


async def answered(params, path):
    """An engine that is asked the first prompt, and at once all others.

    Returns:
        its steps, when it was asked first, the queries' rows for ``make_records``, its facts.
    """
    engine, watch = VllmEngine(params, path), Watch()
    facts = await engine.start()
    try:
        start_s, issued_s = time.monotonic(), []
        for row, length in enumerate(LENGTHS):
            engine.submit(row, list(range(100, 100 + length)), watch)
            issued_s.append(time.monotonic() - start_s)
            await asyncio.sleep(0.05 if row == 0 else 0.001)
        await watch.all.wait()
    finally:
        await engine.stop()
    rows = [(at_s, at_s, None, watch.first_s[row] - start_s, watch.done_s[row] - start_s,
             LENGTHS[row], ANSWER) for row, at_s in enumerate(issued_s)]  # fmt: skip
    return engine.steps(), int(start_s * 1e9), rows, facts


def main():
    """Receive an engine's parameters and model, send what ``answered`` gives."""
    with Connection(int(sys.argv[1])) as pipe:
        pipe.send(asyncio.run(answered(*pipe.recv())))
