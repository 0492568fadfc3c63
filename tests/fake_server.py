"""A server that speaks OpenAI's protocol on the loopback, and does what a test tells it to do."""

import asyncio
import json

from aiohttp import web

MODEL = "small"
KEY = "sk-test-0123456789abcdefghij"


class FakeServer:
    """Answers a prompt of ids with its own first ids, and a text with its words.

    Attributes:
        routes: that it has: "generate", "completions", "chat". takes_ids, gives_ids,
            takes_options: of completions. models: their names, or cards as they are listed.
        faults: what becomes of the next queries, one each: a status, "cut", "cut clean", "empty",
            "bad id", "no json", "error", "abort", "redirect", "drop", "too long"; None answers.
        key: that it wants; empty for none. ssl: its context; None for HTTP without TLS.
        raw: bytes of every answer, in place of its own. answer_headers: of each streamed answer.
        version: of /version; None drops the connection. metrics: Prometheus text of /metrics; None:
            there is no such path. caches: a prompt that came before is answered sooner by delay_s.
        most_at_once, bodies, paths: what came.
        pause: until set, no query is answered.
    """

    def __init__(self, **changes):
        self.routes = ("generate", "completions")
        self.takes_ids = self.gives_ids = self.takes_options = True
        self.models = [MODEL]
        self.faults = []
        self.key = ""
        self.models_status = 200
        self.tokens_an_event = 1
        self.port = 0
        self.ssl = None
        self.raw = b""
        self.answer_headers = {"Content-Type": "text/event-stream"}
        self.version = "9.9"
        self.said_as = "content"
        self.metrics = "vllm:prefix_cache_queries_total 0\nvllm:prompt_tokens_total 0\n"
        self.caches, self.delay_s, self._seen = False, 0.0, set()
        self.__dict__.update(changes)
        self.at_once = self.most_at_once = 0
        self.bodies, self.paths, self.headers = [], [], []
        self.pause = asyncio.Event()
        self.pause.set()

    @property
    def url(self):
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/elsewhere", self._models)
        if "generate" in self.routes:
            app.router.add_post("/inference/v1/generate", self._generate)
        if "chat" in self.routes:
            app.router.add_post("/v1/chat/completions", self._chat)
        if "completions" in self.routes:
            app.router.add_post("/v1/completions", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.ssl)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    def _refusal(self, request):
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            said = f"Incorrect key: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": said}}, status=401)
        return None

    async def _models(self, request):
        if refusal := self._refusal(request):
            return refusal
        if self.models_status == 302:
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        cards = [
            {"id": one, "max_model_len": 2048} if isinstance(one, str) else one
            for one in self.models
        ]
        return web.json_response({"data": cards}, status=self.models_status)

    async def _version(self, request):
        if self.version is None:
            request.transport.abort()
        return web.json_response({"version": self.version})

    async def _metrics(self, request):
        if self.metrics is None:
            return web.Response(status=404)
        text = self.metrics() if callable(self.metrics) else self.metrics
        return web.Response(text=text)

    async def _generate(self, request):
        body = await request.json()
        asked = body["sampling_params"]["max_tokens"]
        return await self._answer(request, body, body["token_ids"][:asked], True)

    async def _complete(self, request):
        body = await request.json()
        ids_in = isinstance(body["prompt"], list)
        extended = {"min_tokens", "repetition_penalty", "return_token_ids"} & set(body)
        if (ids_in and not self.takes_ids) or (extended and not self.takes_options):
            return web.json_response({"error": {"message": "not taken"}}, status=400)
        ids = body["prompt"] if ids_in else [1] * len(body["prompt"].split())
        wants_ids = bool(body.get("return_token_ids")) and self.gives_ids
        return await self._answer(request, body, ids[: body["max_tokens"]], wants_ids)

    async def _chat(self, request):
        body = await request.json()
        (message,) = body["messages"]
        ids = [1] * len(message["content"].split())
        return await self._answer(request, body, ids[: body["max_tokens"]], False)

    async def _answer(self, request, body, ids, ids_out):
        if refusal := self._refusal(request):
            return refusal
        self.bodies.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.pause.wait()
            seen = json.dumps(body.get("prompt") or body.get("token_ids"))
            if not (self.caches and seen in self._seen):
                await asyncio.sleep(self.delay_s)
            self._seen.add(seen)
            fault = self.faults.pop(0) if self.faults else None
            return await self._stream(request, ids, ids_out, fault)
        finally:
            self.at_once -= 1

    async def _stream(self, request, ids, ids_out, fault):
        if isinstance(fault, int):
            return web.json_response({"error": {"message": f"told {fault}"}}, status=fault)
        if fault == "redirect":
            return web.Response(status=307, headers={"Location": "http://192.0.2.1/v1/elsewhere"})
        if fault == "drop":
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(headers=self.answer_headers)
        await response.prepare(request)
        if self.raw:
            await response.write(self.raw)
            return response

        async def send(choice):
            event = {"choices": [{"index": 0, **choice}]}
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        if fault == "no json":
            await response.write(b"data: <html>\n\n")
            return response
        if fault == "error":
            await response.write(b'data: {"error": {"message": "out of memory"}}\n\n')
            return response
        if fault == "bad id":
            ids = [*ids[:1], 10**6]
        if fault == "too long":
            ids = [*ids, *ids]
        if fault == "empty":
            ids = []
        step = self.tokens_an_event
        for place in range(0, len(ids), step):
            part = ids[place : place + step]
            if fault == "cut" and place:
                request.transport.abort()
                return response
            if fault == "cut clean" and place:
                return response
            words = "".join(f" w{token}" for token in part)
            if request.path.endswith("/chat/completions"):
                await send({"delta": {"role": "assistant", self.said_as: words}})
            else:
                await send({"token_ids": part} if ids_out else {"text": words})
        await send({"finish_reason": "abort" if fault == "abort" else "length"})
        await response.write(b'data: {"choices": [], "usage": {"completion_tokens": 1}}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response
