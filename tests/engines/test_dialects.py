"""Servers of other projects, each by a fake that answers as its documents say."""

import asyncio

import pytest
from dialects import LlamaCpp, LMStudio, Ollama, SGLang
from helpers import echo_params

from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.openai import OpenAIEngine

ANSWER = list(range(7, 15))
PROMPT = list(range(10, 40))
TEXT = " ".join(f"w{token}" for token in PROMPT)
LIMIT_S = 60
IDS_IN = "completions, token ids in and text out"
OPENAI_ALONE = "completions, text both ways, OpenAI's options alone"
CHAT = "chat, text both ways, the server's chat template"


class Words:
    """A tokenizer whose tokens are words such as w7."""

    bos_token_id = None

    def encode(self, text, add_special_tokens):
        return [int(word[1:]) for word in text.split()]

    def decode(self, ids, skip_special_tokens):
        return " ".join(f"w{token}" for token in ids)


class Sink:
    """Keeps the one answer."""

    def __init__(self):
        self.answer, self.over = [], asyncio.Event()

    def first(self, row, token, started_ns):
        self.answer.append(token)

    def done(self, row, rest):
        self.answer += rest
        self.over.set()

    def refuse(self, row, error):
        raise AssertionError(error)


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch):
    monkeypatch.setattr("vllm_loadgen.http.openai.vocab_size", lambda *_: 1000)
    monkeypatch.setattr("vllm_loadgen.http.openai.load_tokenizer", lambda *_: Words())


def asked(server, **changes):
    """The engine's facts, the answer to one prompt, and the query as the server saw it."""

    async def body():
        async with server:
            values = {"engine": "openai", "base_url": [server.url], "max_new_tokens": 8}
            client = OpenAIEngine(echo_params(**values | changes), "", "")
            try:
                facts, sink = await client.start(), Sink()
                client.submit(0, PROMPT, sink)
                await sink.over.wait()
            finally:
                await client.stop()
        return facts, sink.answer, server.bodies[-1]

    return asyncio.run(asyncio.wait_for(body(), LIMIT_S))


@pytest.mark.parametrize(
    ("server", "changes", "route", "version", "counted"),
    [
        (Ollama(), {"chat_template": False}, CHAT, "0.40.12", True),
        (LlamaCpp(), {}, IDS_IN, "b8681-abc", True),
        (LMStudio(), {}, OPENAI_ALONE, None, True),
        (SGLang(gives_ids=False), {}, IDS_IN, "0.5.9", True),
        (SGLang(gives_ids=True), {}, "completions, token ids both ways", "0.5.9", False),
    ],
    ids=["ollama", "llama.cpp", "lm studio", "sglang", "sglang with ids"],
)
def test_each_server_is_asked_in_the_best_way_that_it_has(server, changes, route, version, counted):
    facts, answer, query = asked(server, **changes)
    assert (facts.route, facts.version) == (route, version)
    assert facts.token_ids == ("the tokenizer here" if counted else "the server")
    assert answer == ANSWER
    if route == CHAT:
        assert query["messages"] == [{"role": "user", "content": TEXT}]
    else:
        assert query["prompt"] == (TEXT if route == OPENAI_ALONE else PROMPT)


def test_ollama_does_not_wrap_a_prompt_that_is_wrapped():
    with pytest.raises(EngineError, match=r"takes no token ids.*chat_template False") as caught:
        asked(Ollama())
    assert "\n" not in str(caught.value)
