"""Servers as other projects document them: what each takes, and the events of its stream.

Sources, read in 2026: Ollama's docs/api/openai-compatibility and openai/openai.go; llama.cpp's
tools/server/README.md and server-task.cpp; LM Studio's docs (1_developer/3_openai-compat) and what
its users quote of it; SGLang's entrypoints/openai/serving_completions.py.
"""

import json

from aiohttp import web
from fake_server import FakeServer

NOT_A_STRING = (
    "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"
)


class Dialect(FakeServer):
    """Streams the pieces of ``events`` for a query to one of its paths.

    Attributes:
        posts: its paths for queries. gets: JSON by path.
    """

    posts = ("/v1/completions", "/v1/chat/completions")

    def __init__(self, card, gets):
        super().__init__(models=[card])
        self.gets = gets

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("*", "/{path:.*}", self._any)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def _any(self, request):
        self.paths.append(request.path)
        if request.method == "GET" and request.path in self.gets:
            return web.json_response(self.gets[request.path])
        if request.method != "POST" or request.path not in self.posts:
            return self.no_such_path(request)
        body = await request.json()
        if refusal := self.refusal(request.path, body):
            return refusal
        self.bodies.append(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in self.events(request.path, body):
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    def no_such_path(self, request):
        return web.Response(status=404, text="404 page not found")

    def refusal(self, path, body):
        return None

    def words(self, body):
        """As many words as tokens are wanted: the fakes' models always run into the limit."""
        return [f" w{7 + place}" for place in range(body["max_tokens"])]


class Ollama(Dialect):
    """Wraps the text of a completion in the model's template; takes no token ids."""

    def __init__(self):
        card = {"id": "llama3.1:8b", "object": "model", "owned_by": "library"}
        super().__init__(card, {"/api/version": {"version": "0.40.12"}})

    def refusal(self, path, body):
        if path.endswith("/completions") and isinstance(body.get("prompt"), list):
            error = {"message": NOT_A_STRING, "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        return None

    def events(self, path, body):
        own = {"object": "text_completion", "system_fingerprint": "fp_ollama"}
        chat = path.endswith("/chat/completions")
        for place, word in enumerate(self.words(body)):
            delta = {"role": "assistant"} if place == 0 else {}
            choice = {"delta": {**delta, "content": word}} if chat else {"text": word}
            yield {**own, "choices": [{"index": 0, **choice, "finish_reason": None}]}
        last = {"delta": {}} if chat else {"text": ""}
        yield {**own, "choices": [{"index": 0, **last, "finish_reason": "length"}]}
        if body.get("stream_options", {}).get("include_usage"):
            yield {**own, "choices": [], "usage": {"completion_tokens": body["max_tokens"]}}


class LlamaCpp(Dialect):
    """Takes token arrays, ignores options that it does not know, answers in text."""

    def __init__(self):
        card = {"id": "model.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}
        super().__init__(card, {"/props": {"build_info": "b8681-abc", "total_slots": 4}})

    def no_such_path(self, request):
        status, said = 404, "File Not Found"
        if request.path == "/metrics":
            status, said = 501, "This server does not support metrics endpoint."
        return web.json_response({"error": {"code": status, "message": said}}, status=status)

    def events(self, path, body):
        own = {"object": "text_completion", "system_fingerprint": "b8681-abc", "model": "x"}
        if path.endswith("/chat/completions"):
            role = {"delta": {"role": "assistant", "content": None}, "finish_reason": None}
            yield {**own, "choices": [role]}
            for word in self.words(body):
                yield {**own, "choices": [{"delta": {"content": word}, "finish_reason": None}]}
            yield {**own, "choices": [{"delta": {}, "finish_reason": "length"}]}
            return
        for word in self.words(body):
            yield {**own, "choices": [{"text": word, "logprobs": None, "finish_reason": None}]}
        last = {"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}
        usage = {"completion_tokens": body["max_tokens"]}
        yield {**own, "choices": [last], "usage": usage, "timings": {"predicted_n": 8}}


class LMStudio(Dialect):
    """Answers 200 where it has no such path; its documents know a text as prompt alone."""

    def __init__(self):
        super().__init__({"id": "qwen2.5-7b-instruct", "object": "model"}, {})

    def no_such_path(self, request):
        said = f"Unexpected endpoint or method. ({request.method} {request.path})"
        return web.json_response({"error": said})

    def refusal(self, path, body):
        if path == "/v1/completions" and not isinstance(body.get("prompt"), str):
            return web.json_response({"error": "'prompt' must be a string"}, status=400)
        return None

    def events(self, path, body):
        for word in self.words(body):
            yield {"choices": [{"index": 0, "text": word, "logprobs": None, "finish_reason": None}]}
        yield {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}


class SGLang(Dialect):
    """Takes token ids and vLLM's options; newer versions give token ids as well.

    Attributes:
        gives_ids: whether it knows return_token_ids.
    """

    posts = ("/generate", *Dialect.posts)

    def __init__(self, gives_ids):
        card = {"id": "x", "owned_by": "sglang", "max_model_len": 8192}
        super().__init__(card, {"/get_server_info": {"version": "0.5.9", "model_path": "x"}})
        self.gives_ids = gives_ids

    def events(self, path, body):
        words = self.words(body)
        for place, word in enumerate(words, start=1):
            ids = [int(word[2:])] if self.gives_ids and body.get("return_token_ids") else None
            reason = "length" if place == len(words) else None
            choice = {"text": word, "token_ids": ids, "finish_reason": reason, "matched_stop": None}
            yield {"object": "text_completion", "choices": [{"index": 0, **choice}]}
