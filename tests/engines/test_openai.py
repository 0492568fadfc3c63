"""The client of served engines, against a server on the loopback that is told what to do."""

import asyncio
import inspect
import re

import pytest
import uvicorn
from fake_server import KEY, MODEL, FakeServer
from helpers import echo_params

from vllm_loadgen.errors import EngineError
from vllm_loadgen.http import client as http_client
from vllm_loadgen.http.openai import OpenAIEngine

VOCABULARY = 1000
PROMPT = list(range(10, 40))
LIMIT_S = 60


class Words:
    """A tokenizer whose tokens are words such as w7; 1 begins a text."""

    bos_token_id = 1

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [int(word[1:]) for word in text.split()]

    def decode(self, ids, skip_special_tokens):
        assert not skip_special_tokens
        return " ".join(f"w{token}" for token in ids)


class Sink:
    """Keeps what the engine said, and wakes who waits for the end of all queries."""

    def __init__(self, queries):
        self.firsts, self.answers, self.refused = {}, {}, {}
        self.order = []
        self.left = queries
        self.over = asyncio.Event()

    def first(self, row, token, started_ns):
        assert started_ns is None
        self.firsts[row] = token
        self.order.append(("first", row))

    def done(self, row, rest):
        self.answers[row] = [self.firsts[row], *rest]
        self._end("done", row)

    def refuse(self, row, error):
        self.refused[row] = str(error)
        self._end("refused", row)

    def failed(self, error):
        raise AssertionError(error)

    def _end(self, how, row):
        self.order.append((how, row))
        self.left -= 1
        if not self.left:
            self.over.set()


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch):
    """A tokenizer of words, and as many ids."""
    monkeypatch.setattr("vllm_loadgen.http.openai.vocab_size", lambda *_: VOCABULARY)
    monkeypatch.setattr("vllm_loadgen.http.openai.load_tokenizer", lambda *_: Words())


class Peers(FakeServer):
    """Keeps the port that each query came from."""

    def __init__(self):
        super().__init__()
        self.ports = []

    async def _answer(self, request, *given):
        self.ports.append(request.transport.get_extra_info("peername")[1])
        return await super()._answer(request, *given)


def params(*servers, **changes):
    urls = [server.url for server in servers]
    values = {"engine": "openai", "base_url": urls, "max_new_tokens": 8}
    return echo_params(**values | changes)


def engine(*servers, key="", **changes):
    asked = params(*servers, **changes)
    return OpenAIEngine(asked, "", key)


async def ask(client, count=1, prompts=None):
    prompts = prompts or [PROMPT] * count
    sink = Sink(len(prompts))
    for row, prompt in enumerate(prompts):
        client.submit(row, prompt, sink)
    await asyncio.wait_for(sink.over.wait(), LIMIT_S)
    return sink


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, LIMIT_S))


@pytest.mark.parametrize(
    ("server", "route", "counted"),
    [
        ({}, "vLLM's tokens in, tokens out", False),
        ({"routes": ("completions",)}, "completions, token ids both ways", False),
        (
            {"routes": ("completions",), "gives_ids": False},
            "completions, token ids in and text out",
            True,
        ),
        (
            {"routes": ("completions",), "takes_options": False},
            "completions, token ids in and text out, OpenAI's options alone",
            True,
        ),
        (
            {"routes": ("completions",), "takes_options": False, "takes_ids": False},
            "completions, text both ways, OpenAI's options alone",
            True,
        ),
    ],
)
def test_a_probe_finds_the_best_route_that_a_server_has(server, route, counted):
    async def body():
        async with FakeServer(**server) as fake:
            client = engine(fake)
            facts = await client.start()
            sink = await ask(client)
            await client.stop()
            return facts, sink, fake.bodies[-1]

    facts, sink, asked = run(body())
    assert (facts.route, facts.version, facts.served_model) == (route, "9.9", MODEL)
    assert facts.token_ids == ("the tokenizer here" if counted else "the server")
    assert facts.max_model_len == 2048
    text_in = "text both ways" in route
    assert sink.answers == {0: [1] * 8 if text_in else PROMPT[:8]}
    assert not sink.refused
    assert asked["stream"] is True
    options = asked.get("sampling_params", asked)
    assert options["temperature"] == 0
    assert options["max_tokens"] == 8
    assert ("min_tokens" in options) == ("alone" not in route)
    assert "min_tokens" in facts.options or "alone" in route
    if text_in:
        assert asked["prompt"] == " ".join(f"w{token}" for token in PROMPT)


def test_a_text_prompt_leaves_its_begin_to_the_server():
    async def body():
        server = {"routes": ("completions",), "takes_options": False, "takes_ids": False}
        async with FakeServer(**server) as fake:
            client = engine(fake)
            await client.start()
            await ask(client, prompts=[[1, 5, 6]])
            await client.stop()
            return fake.bodies[-1]["prompt"]

    assert run(body()) == "w5 w6"


def test_the_first_token_is_told_before_the_others_come():
    async def body():
        async with FakeServer() as fake:
            client = engine(fake)
            await client.start()
            sink = await ask(client, 3)
            await client.stop()
            return sink.order

    order = run(body())
    assert sorted(order) == [("done", 0), ("done", 1), ("done", 2),
                             ("first", 0), ("first", 1), ("first", 2)]  # fmt: skip
    for row in range(3):
        assert order.index(("first", row)) < order.index(("done", row))


def test_an_answer_in_one_event():
    async def body():
        async with FakeServer(tokens_an_event=100) as fake:
            client = engine(fake)
            await client.start()
            sink = await ask(client)
            await client.stop()
            return sink.answers

    assert run(body()) == {0: PROMPT[:8]}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (429, "/inference/v1/generate answers with status 429: told 429"),
        (400, "/inference/v1/generate answers with status 400: told 400"),
        (500, "/inference/v1/generate answers with status 500: told 500"),
        (503, "/inference/v1/generate answers with status 503: told 503"),
        ("redirect", r"generate redirects to another address \(status 307\)"),
        ("cut", "the connection was cut"),
        ("cut clean", "its stream was cut before the end of the answer"),
        ("drop", "the connection was cut"),
        ("empty", "it answered with no token at all"),
        ("bad id", "it answered with 1000000, which is not a token of the model"),
        ("too long", "it answered with more than the 8 tokens requested"),
        ("no json", "its stream holds <html>"),
        ("error", "it broke off with: out of memory"),
        ("abort", "it ended the answer with abort"),
    ],
)
def test_a_fault_is_one_refused_query_and_the_others_are_answered(fault, words):
    async def body():
        async with FakeServer() as fake:
            client = engine(fake)
            await client.start()
            fake.faults = [None, fault]
            before = await ask(client)
            bad = await ask(client)
            after = await ask(client, 2)
            await client.stop()
            return before, bad, after, fake

    before, bad, after, fake = run(body())
    assert (len(before.answers), len(after.answers)) == (1, 2)
    assert not bad.answers
    (problem,) = bad.refused.values()
    assert "\n" not in problem
    assert problem.startswith(f"127.0.0.1:{fake.port}: ")
    assert re.search(words, problem)


PIECES = (
    b'data: {"choices": [{"token_ids": [10], "text": "w10"}]}\n\n',
    b'data: {"choices": [{"token_ids": [11], "text": " w11", "finish_reason": "length"}]}\n\n',
)
DONE = b"data: [DONE]\n\n"
ROLE = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": null}}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"completion_tokens": "two"}}\n\n'
ODD = (
    b'data: {"id": 7, "object": null, "model": ["x"], "created": "now", "error": null, '
    b'"system_fingerprint": {}, "choices": [{"index": "0", "logprobs": 1, "stop_reason": {}, '
    b'"reasoning_content": 3, "finish_reason": "", "token_ids": [10], "text": "w10"}]}\n\n'
)
NULLS = b'data: {"choices": [{"text": null, "token_ids": null, "finish_reason": null}]}\n\n'


@pytest.mark.parametrize("counted", [False, True], ids=["ids", "text"])
@pytest.mark.parametrize(
    "raw",
    [
        b"".join(PIECES) + DONE,
        b"".join(PIECES),  # no [DONE]
        b"".join(PIECES).replace(b'"length"', b'""') + DONE,
        b"".join(PIECES).replace(b'"length"', b'"null"') + DONE,
        b"".join(PIECES).replace(b"\n", b"\r\n"),
        b"".join(PIECES).replace(b"data: ", b"data:"),
        b"".join(PIECES).replace(b"\n\n", b"\n"),
        b"\xef\xbb\xbf" + b"".join(PIECES),
        b": ping\n\nevent: message\nid: 1\nretry: 5\n" + b"".join(PIECES),
        b"data:\n\ndata: 7\n\ndata: null\n\ndata: {}\n\n" + b"".join(PIECES),
        ROLE + PIECES[0] + USAGE + NULLS + PIECES[1] + USAGE + DONE,
        ODD + PIECES[1] + DONE,
        ODD.replace(b'"index": "0", ', b"") + PIECES[1],
        b"".join(PIECES) + b'data: {"choices": "none", "error": "late"}\n\n',
    ],
)
def test_what_is_not_used_cannot_stop_an_answer(raw, counted):
    async def body():
        async with FakeServer(routes=("completions",), raw=raw) as fake:
            fake.raw = PIECES[0].replace(b'"token_ids": [10], ', b"") + DONE if counted else raw
            client = engine(fake)
            await client.start()
            fake.raw = raw
            sink = await ask(client)
            await client.stop()
            return sink

    sink = run(body())
    assert not sink.refused
    assert sink.answers == {0: [10, 11]}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/html; charset=latin-1; x"},
        {"Content-Type": "text/event-stream", "Content-Length": str(len(PIECES[0] + PIECES[1]))},
        {"Content-Type": "text/event-stream", "X-Trace": "t" * 20_000},
        {"Content-Type": "text/event-stream", "Set-Cookie": "=;=", "Connection": "close"},
    ],
    ids=["no type", "empty type", "another type", "not chunked", "long header", "odd cookie"],
)
def test_headers_that_are_not_used_cannot_stop_an_answer(headers):
    async def body():
        async with FakeServer(raw=b"".join(PIECES), answer_headers=headers) as fake:
            client = engine(fake)
            await client.start()
            sink = await ask(client)
            await client.stop()
            return sink

    assert run(body()).answers == {0: [10, 11]}


@pytest.mark.parametrize(
    "server",
    [
        {"version": None},
        {"version": {"a": 1}},
        {"models": [7, {"id": MODEL, "created": {}, "max_model_len": "long"}, {"id": ""}, {}]},
        {"models": [{"id": MODEL, "max_model_len": True, "owned_by": 5}]},
    ],
)
def test_what_a_server_says_of_itself_cannot_stop_a_run(server):
    async def body():
        async with FakeServer(**server) as fake:
            client = engine(fake)
            facts = await client.start()
            sink = await ask(client)
            await client.stop()
            return facts, sink

    facts, sink = run(body())
    assert facts.served_model == MODEL
    assert sink.answers


def test_a_named_model_needs_no_list_of_models():
    async def body():
        async with FakeServer(models_status=404) as fake:
            client = engine(fake, served_model="mine")
            facts = await client.start()
            sink = await ask(client)
            await client.stop()
            return facts, sink.answers, fake.bodies[-1]["model"]

    facts, answers, asked = run(body())
    assert facts.served_model == asked == "mine"
    assert answers


@pytest.mark.parametrize(
    ("reason", "counted"),
    [("length", {"length": 2}), ("eos_token", {"eos_token": 2}), ("", {}),
     ("tool_calls", {"tool_calls": 2})],
)  # fmt: skip
def test_the_reasons_why_answers_end_are_counted(reason, counted):
    async def body():
        raw = b"".join(PIECES).replace(b"length", reason.encode()) + DONE
        async with FakeServer(raw=raw) as fake:
            client = engine(fake)
            await client.start()
            sink = await ask(client, 2)
            counts = [dict(client.ends()) for _ in range(2)]
            await client.stop()
            return sink, counts

    sink, counts = run(body())
    assert sink.answers == {0: [10, 11], 1: [10, 11]}
    assert counts == [counted, {}]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"choices": [{"text": "w10"}]}', r'it did not stream its answer: \{"choices"'),
        (b'data: {"choices": [{"token_ids": 5}]}\n\n', "token_ids = 5, which is not a list"),
        (b'data: {"choices": {"text": "w10"}}\n\n', r'its stream holds \{"choices": \{"text"'),
        (b'data: {"object": "error", "message": "no room"}\n\n', "it broke off with: no room"),
        (b'data: {"choices": [{"finish_reason": "content_filter"}]}\n\n', "with content_filter"),
    ],
)
def test_an_answer_of_another_form_is_refused_and_quoted(raw, words):
    async def body():
        async with FakeServer() as fake:
            client = engine(fake)
            await client.start()
            fake.raw = raw
            sink = await ask(client)
            await client.stop()
            return sink.refused[0]

    assert re.search(words, run(body()))


def test_a_text_that_is_not_text_is_refused_and_quoted():
    async def body():
        async with FakeServer(routes=("completions",), gives_ids=False) as fake:
            client = engine(fake)
            await client.start()
            fake.raw = b'data: {"choices": [{"text": {"a": 1}, "finish_reason": "stop"}]}\n\n'
            sink = await ask(client)
            await client.stop()
            return sink.refused[0]

    assert "text = {'a': 1}, which is not text" in run(body())


def test_a_server_that_dies_and_comes_back():
    async def body():
        async with FakeServer() as fake:
            client = engine(fake)
            await client.start()
            first = await ask(client, 2)
        port = fake.port
        down = await ask(client, 2)
        async with FakeServer(port=port):
            again = await ask(client, 2)
        await client.stop()
        return first, down, again

    first, down, again = run(body())
    assert len(first.answers) == 2
    assert len(again.answers) == 2
    assert len(down.refused) == 2
    assert all("it cannot be reached" in said or "cut" in said for said in down.refused.values())


def test_all_queries_are_there_at_once():
    """aiohttp's own limit would be 100 connections."""

    async def body():
        async with FakeServer() as fake:
            client = engine(fake)
            await client.start()
            fake.pause.clear()
            sink = Sink(150)
            for row in range(150):
                client.submit(row, PROMPT, sink)
            while fake.at_once < 150:
                await asyncio.sleep(0.01)
            fake.pause.set()
            await asyncio.wait_for(sink.over.wait(), LIMIT_S)
            await client.stop()
            return sink, fake.most_at_once

    sink, most = run(body())
    assert (len(sink.answers), most) == (150, 150)


def test_of_several_servers_the_one_that_owes_least_is_asked():
    async def body():
        async with FakeServer() as slow, FakeServer() as fast:
            client = engine(slow, fast)
            await client.start()
            probes = len(slow.bodies), len(fast.bodies)
            slow.pause.clear()
            held = Sink(4)
            for row in range(4):
                client.submit(row, PROMPT, held)
            while slow.at_once < 2 or len(held.answers) < 2:
                await asyncio.sleep(0.01)
            for _ in range(4):
                await ask(client)
            slow.pause.set()
            await asyncio.wait_for(held.over.wait(), LIMIT_S)
            await client.stop()
            return len(slow.bodies) - probes[0], len(fast.bodies) - probes[1]

    assert run(body()) == (2, 6)


def test_of_several_servers_one_that_is_gone_does_not_take_all_queries():
    async def body():
        async with FakeServer() as stays:
            async with FakeServer() as goes:
                client = engine(goes, stays)
                await client.start()
            outcome = []
            for _ in range(6):
                outcome.append(bool((await ask(client)).answers))
            await client.stop()
            return outcome

    assert run(body()) == [False, True, True, True, True, True]


@pytest.mark.parametrize(
    ("server", "changes", "words"),
    [
        ({"key": KEY}, {}, "status 401.*It wants a key: set OPENAI_API_KEY"),
        ({"models_status": 302}, {}, r"/v1/models redirects to another.*Give the"),
        ({"models_status": 404}, {}, "/v1/models answers with status 404.*Give the address"),
        ({"models": []}, {}, "it serves no model"),
        ({"models": ["a", "b"]}, {}, "serves 2 models. Give one as served_model: a, b"),
        ({}, {"served_model": "big"}, "served_model = 'big'.*no such model. It serves small"),
        ({"faults": [429]}, {}, "status 429.*Wait until"),
        ({"routes": ()}, {}, "/v1/completions answers with status 404.*has /v1/completions"),
    ],
)
def test_what_cannot_be_measured_is_one_error_before_the_test(server, changes, words):
    async def body():
        async with FakeServer(**server) as fake:
            client = engine(fake, **changes)
            try:
                await client.start()
            finally:
                await client.stop()
            return fake

    with pytest.raises(EngineError, match=words) as caught:
        run(body())
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there():
    async def body():
        async with FakeServer() as fake:
            pass
        client = engine(fake)
        try:
            await client.start()
        finally:
            await client.stop()

    with pytest.raises(EngineError, match=r"base_url = .*it cannot be reached.*Give the address"):
        run(body())


def test_the_key_reaches_the_server_and_no_message():
    async def body(key):
        async with FakeServer(key=KEY) as fake:
            client = engine(fake, key=key)
            try:
                await client.start()
                fake.key = "another"
                return (await ask(client)).refused[0]
            finally:
                await client.stop()

    said = run(body(KEY))
    assert "Incorrect key: Bearer [secret]" in said
    wrong = "sk-wrong-0123456789abcdef"
    with pytest.raises(EngineError, match=r"\[secret\].*refused the key in OPENAI_") as caught:
        run(body(wrong))
    assert "sk-wrong" not in str(caught.value)


def test_a_complaint_that_is_cut_short_holds_no_part_of_the_key():
    async def body():
        async with FakeServer() as fake:
            client = engine(fake, key=KEY)
            await client.start()
            fake.raw = b'data: {"error": "' + b"x" * 190 + KEY.encode() + b'"}\n\n'
            sink = await ask(client)
            await client.stop()
            return sink.refused[0]

    assert KEY[:4] not in run(body())


def test_no_request_leaves_for_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def body():
        async with FakeServer() as fake:
            client = engine(fake)
            await client.start()
            sink = await ask(client)
            await client.stop()
            return sink.answers

    assert run(body())


def test_an_address_that_was_cleaned_away_is_no_address():
    asked = echo_params(engine="openai", base_url="http://[host]:8000")
    client = OpenAIEngine(asked, "", "")

    async def body():
        try:
            await client.start()
        finally:
            await client.stop()

    with pytest.raises(EngineError, match=r"base_url = .*it names no address"):
        run(body())


@pytest.mark.parametrize(("keep_alive_s", "connections"), [(1000.0, 1), (1e-9, 3)])
def test_a_connection_that_was_idle_for_too_long_is_not_used_again(
    monkeypatch, keep_alive_s, connections
):
    monkeypatch.setattr(http_client, "KEEP_ALIVE_S", keep_alive_s)

    async def body():
        async with Peers() as fake:
            client = engine(fake)
            await client.start()
            fake.ports.clear()
            for _ in range(3):
                await ask(client)
                await asyncio.sleep(0.01)  # the connection is idle again
            await client.stop()
        return len(set(fake.ports))

    assert run(body()) == connections


def test_an_idle_connection_is_dropped_before_the_server_drops_it():
    theirs = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default
    assert theirs > http_client.KEEP_ALIVE_S


def started(*servers, **changes):
    """Facts and metrics of an engine that asks these servers."""

    async def body():
        client = engine(*servers, **changes)
        facts = await client.start()
        seen = await client.observe()
        await client.stop()
        return facts, seen

    return body()


@pytest.mark.parametrize(("looked_up", "caching"), [(3, True), (0, False)])
def test_counters_say_whether_a_server_caches(looked_up, caching):
    async def body():
        text = f"vllm:prefix_cache_queries_total {looked_up}\nvllm:num_requests_running 2\n"
        async with FakeServer(metrics=text) as one, FakeServer(metrics=text) as other:
            return await started(one, other)

    facts, seen = run(body())
    assert (facts.prefix_caching, facts.cache_seen_by) == (caching, "metrics")
    assert seen == {"cache_queries": 2 * looked_up, "running": 4}


@pytest.mark.parametrize("routes", [("generate",), ("completions",)])
@pytest.mark.parametrize(("caches", "caching"), [(True, True), (False, None)])
def test_a_server_without_counters_is_probed_by_a_repeated_prompt(caches, caching, routes):
    async def body():
        server = FakeServer(metrics=None, caches=caches, delay_s=0.1, routes=routes)
        async with server as fake:
            found = await started(fake)
            return *found, [len(asked.get("prompt") or asked["token_ids"]) for asked in fake.bodies]

    facts, seen, lengths = run(body())
    assert (facts.prefix_caching, facts.cache_seen_by) == (caching, "probe")
    assert seen == {}
    assert lengths[-3:] == [1024] * 3  # half of the server's longest
    assert len(lengths) == 4


@pytest.mark.parametrize("metrics", ["<html>", "vllm:prompt_tokens_total many", ""])
def test_what_is_not_prometheus_counts_as_no_metrics(metrics):
    async def body():
        async with FakeServer(metrics=metrics, faults=[None, 500]) as fake:
            return await started(fake)

    facts, seen = run(body())
    assert (facts.prefix_caching, facts.cache_seen_by, seen) == (None, None, {})


@pytest.mark.parametrize("said_as", ["content", "reasoning_content", "reasoning"])
def test_a_server_that_has_chat_alone_wraps_prompts_that_are_not_wrapped(said_as):
    async def body():
        async with FakeServer(routes=("chat",), said_as=said_as) as fake:
            client = engine(fake, chat_template=False)
            facts = await client.start()
            sink = await ask(client)
            await client.stop()
            return facts, sink, fake.bodies[-1]

    facts, sink, asked = run(body())
    assert facts.route == "chat, text both ways, the server's chat template"
    assert asked["messages"] == [{"role": "user", "content": " ".join(f"w{i}" for i in PROMPT)}]
    assert (asked["max_tokens"], asked["temperature"], asked["stream"]) == (8, 0.0, True)
    assert sink.answers == {0: [1] * 8}


def test_prompts_that_are_wrapped_do_not_go_through_chat():
    async def body():
        async with FakeServer(routes=("chat",)) as fake:
            await engine(fake).start()

    with pytest.raises(EngineError, match="chat_template False for one that has"):
        run(body())
