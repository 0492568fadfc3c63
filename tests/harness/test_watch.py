"""The watch over a test: an engine that still makes tokens is alive, one that makes none is not."""

import asyncio
import threading
import time
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest
from fake_server import FakeServer
from helpers import PROMPTS, echo_params

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.harness.messages import Stop
from vllm_loadgen.harness.sut import Sut
from vllm_loadgen.harness.watch import Watch
from vllm_loadgen.http.openai import OpenAIEngine
from vllm_loadgen.http.served import ServedVllm

STALL_S, LASTS_S = 1.0, 2.5


class Endless(Engine):
    """Owes every answer; until ``lives_s`` after its start it makes tokens of them."""

    def __init__(self, lives_s: float) -> None:
        self.until_s = time.monotonic() + lives_s

    async def start(self):
        raise AssertionError

    def submit(self, row, prompt, sink, most_tokens=None) -> None:
        pass

    def progress(self) -> int:
        return int(min(time.monotonic(), self.until_s) * 10)

    async def stop(self) -> None:
        pass


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield SimpleNamespace(loop=loop, thread=thread)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lives_s", "status", "problem"),
    [
        (60.0, "complete", ""),
        (0.0, "failed", "the engine gave no answer for 1 s"),
    ],
)
def test_an_engine_lives_as_long_as_it_makes_tokens(loop, lives_s, status, problem) -> None:
    sut = Sut(Endless(lives_s), PROMPTS, loop.loop)
    journal = SimpleNamespace(note=lambda: None, note_now_and_then=lambda: None)
    caller, pipe = Pipe()
    watch = Watch(sut, loop.loop, loop.thread, journal, pipe, STALL_S)

    def test() -> None:
        sut.issue([70], [0])
        time.sleep(LASTS_S)

    ended = watch.run(test)
    caller.close()
    assert (ended.status, ended.message) == (status, problem)


class Steady(Endless):
    """Answers one query after the other on the event loop, 1 ms each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(60.0)
        self.loop, self.rows = loop, 0

    def submit(self, row, prompt, sink, most_tokens=None) -> None:
        self.rows += 1
        self.loop.call_later(self.rows / 1000, self.answer, row, sink)

    @staticmethod
    def answer(row, sink) -> None:
        sink.first(row, 1, None)
        sink.done(row, [2])


def test_a_test_that_is_given_up_records_what_its_journal_has(loop, monkeypatch) -> None:
    monkeypatch.setattr("vllm_loadgen.harness.sut.lg.FirstTokenComplete", lambda _: None)
    monkeypatch.setattr("vllm_loadgen.harness.sut.lg.QuerySamplesComplete", lambda _: None)
    sut, noted, over = Sut(Steady(loop.loop), PROMPTS, loop.loop), [], threading.Event()

    def note() -> None:
        noted.append(sut.done_count)
        time.sleep(0.1)

    caller, pipe = Pipe()
    journal = SimpleNamespace(note=note, note_now_and_then=lambda: None)
    watch = Watch(sut, loop.loop, loop.thread, journal, pipe, STALL_S)

    def test() -> None:
        sut.issue([*range(2000)], [0] * 2000)
        over.wait()

    caller.send(Stop())
    ended = watch.run(test)
    over.set()
    assert ended.status == "interrupted"
    assert noted == [sut.done_count]
    assert 0 < sut.done_count < 2000


def test_a_clock_that_is_set_during_a_test_is_measured(loop, monkeypatch) -> None:
    sut, now_s = Sut(Endless(60.0), PROMPTS, loop.loop), time.time
    caller, pipe = Pipe()
    journal = SimpleNamespace(note=lambda: None, note_now_and_then=lambda: None)
    watch = Watch(sut, loop.loop, loop.thread, journal, pipe, STALL_S)
    watch.run(lambda: monkeypatch.setattr("time.time", lambda: now_s() - 3600))
    caller.close()
    assert watch.clock_step_ms == pytest.approx(-3_600_000, abs=10_000)


def test_a_streams_events_and_an_own_servers_counters_are_progress(monkeypatch) -> None:
    monkeypatch.setattr("vllm_loadgen.http.openai.vocab_size", lambda *_: 1000)

    class Sink:
        def __init__(self) -> None:
            self.over = asyncio.Event()

        def first(self, *_) -> None:
            pass

        def done(self, *_) -> None:
            self.over.set()

        def refuse(self, row, error) -> None:
            raise AssertionError(error)

        failed = refuse

    async def seen() -> list[int]:
        async with FakeServer() as fake:
            params = echo_params(engine="openai", base_url=[fake.url], max_new_tokens=8)
            engine, sink = OpenAIEngine(params, "", ""), Sink()
            await engine.start()
            before = engine.progress()
            engine.submit(0, PROMPTS[0], sink)
            await asyncio.wait_for(sink.over.wait(), 60)
            after = engine.progress()
            await engine.stop()
        own = ServedVllm(echo_params(engine="vllm"), "", "")
        counted = {"prompt_tokens": 7.0, "output_tokens": 5.0}

        async def observe(_):
            return counted

        monkeypatch.setattr(OpenAIEngine, "observe", observe)
        await own.observe()
        return [after - before, own.progress()]

    events, tokens = asyncio.run(seen())
    assert events >= 8  # one a token
    assert tokens == 12
