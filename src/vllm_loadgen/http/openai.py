"""A server that runs already: any that speaks OpenAI's protocol, over HTTP."""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from vllm_loadgen.checkpoint import load_tokenizer, vocab_size
from vllm_loadgen.engines.base import Engine, Sink
from vllm_loadgen.errors import EngineError
from vllm_loadgen.http import metrics, probe
from vllm_loadgen.http.client import Client, Server
from vllm_loadgen.http.routes import CHAT_ROUTE, ROUTES, Piece, Route
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts

METRICS_S = 1.5
# Of the prompts that look for a prefix cache, tokens; and of a server that gives no length.
PROBE_LENGTH, USUAL_LENGTH = 2048, 1024
Encode = Callable[[str], list[int]]


class OpenAIEngine(Engine):
    """One pooled client for one server or several; streamed, least outstanding first.

    The stall of a server is the watch's to see (``harness.watch``).

    Args:
        model_path: folder of the model's tokenizer and config.json.
        key: of the servers; empty for none (``Client``).
        urls: of servers of the same model, in place of ``base_url``.
        routes: to try, in this order.
    """

    def __init__(
        self,
        params: TestParams,
        model_path: str,
        key: str,
        urls: Sequence[str] = (),
        routes: Sequence[Route] = ROUTES,
    ) -> None:
        self._params, self._model_path = params, model_path
        self._client = Client(key)
        self._servers = [Server(number, url) for number, url in enumerate(urls or params.base_url)]
        self._routes = routes if params.chat_template else (*routes, CHAT_ROUTE)
        self._tokenizer: Any = None
        self._encode: Encode | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Of several servers: which query went to which.
        self._rows, self._numbers = array("q"), array("i")
        self._ends: Counter[str] = Counter()
        self._has_metrics = True
        self._events = 0  # of all streams

    # Before the test ------------------------------------------------------------------------
    async def start(self) -> EngineFacts:
        checkpoint, trust = Path(self._model_path), self._params.trust_remote_code
        self._vocab_size = vocab_size(checkpoint, trust)
        client, servers, sampling = self._client, self._servers, self._params.sampling
        client.open(any(server.url.startswith("https:") for server in servers))
        named = self._params.served_model
        listed = [await probe.list_models(client, server, named) for server in servers]
        self._model = probe.choose_model(servers, listed, named)
        self._route = await probe.find_route(client, servers, self._routes, self._model, sampling)
        if not (self._route.ids_in and self._route.ids_out):
            self._tokenizer = load_tokenizer(checkpoint, trust)
        if not self._route.ids_out:
            self._encode = partial(self._tokenizer.encode, add_special_tokens=False)
        lengths = (lengths.get(self._model) for lengths in listed)
        known = [length for length in lengths if type(length) is int]
        caching, seen_by = await self._prefix_cache(min(known, default=USUAL_LENGTH))
        return EngineFacts(
            engine="openai",
            version=await probe.find_version(client, servers),
            options=self._options(self._params.max_new_tokens),
            route=self._route.name,
            served_model=self._model,
            token_ids="the server" if self._route.ids_out else "the tokenizer here",
            max_model_len=min(known, default=None),
            prefix_caching=caching,
            cache_seen_by=seen_by,
        )

    async def observe(self) -> Mapping[str, float]:
        if not self._has_metrics:
            return {}
        seen = []
        for server in self._servers:
            with suppress(EngineError, ValueError):
                status, body = await self._client.get(server, metrics.PATH, METRICS_S)
                seen.append(metrics.read(body.decode(errors="replace")) if status == 200 else {})
        return metrics.total(seen) if len(seen) == len(self._servers) else {}

    async def _prefix_cache(
        self, max_model_len: int
    ) -> tuple[bool | None, Literal["metrics", "probe"] | None]:
        """Whether the servers have a prefix cache, and how that is known."""
        seen = await self.observe()
        self._has_metrics = bool(seen)
        if "cache_queries" in seen:  # vLLM counts them where the cache is on
            return seen["cache_queries"] > 0, "metrics"
        if seen:
            return None, None
        one, other = probe.unlike_prompts(self._vocab_size, min(PROBE_LENGTH, max_model_len // 2))
        prompts = self._prompt(one), self._prompt(other)
        try:
            likely = [
                await probe.likely_cached(self._client, server, self._route, self._model, prompts)
                for server in self._servers
            ]
        except EngineError:
            return None, None
        return any(likely) or None, "probe"

    # The test -------------------------------------------------------------------------------
    def submit(
        self, row: int, prompt: Sequence[int], sink: Sink, most_tokens: int | None = None
    ) -> None:
        most = min(self._params.max_new_tokens, most_tokens or self._params.max_new_tokens)
        server = self._least_busy()
        server.outstanding += 1
        server.sent += 1
        if len(self._servers) > 1:
            self._rows.append(row)
            self._numbers.append(server.number)
        task = asyncio.get_running_loop().create_task(self._ask(server, row, prompt, sink, most))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take_routing(self) -> tuple[Sequence[int], Sequence[int]]:
        taken = self._rows, self._numbers
        self._rows, self._numbers = array("q"), array("i")
        return taken

    def progress(self) -> int:
        return self._events

    def ends(self) -> Mapping[str, int]:
        taken, self._ends = self._ends, Counter()
        return taken

    def _least_busy(self) -> Server:
        """The server with the fewest queries; one that could not be reached just now comes last.

        Of equals the one that was sent fewest, or the first would get all of a light load.
        """
        now = time.monotonic()
        return min(
            self._servers, key=lambda one: (one.aside_until > now, one.outstanding, one.sent)
        )

    async def _ask(
        self, server: Server, row: int, prompt: Sequence[int], sink: Sink, most: int
    ) -> None:
        answer = Answer(row, sink, most, self._vocab_size, self._encode)
        try:
            asked = self._route.body(self._model, self._prompt(prompt), self._options(most, row))
            async with aclosing(self._client.pieces(server, self._route, asked)) as pieces:
                async for piece in pieces:
                    self._events += 1
                    if piece.reason and not answer.whole:
                        self._ends[piece.reason] += 1
                    answer.take(piece)
        except Exception as error:  # a query that is forgotten hangs LoadGen
            if not answer.whole:
                text = str(error) if isinstance(error, EngineError) else repr(error)
                sink.refuse(row, EngineError(f"{server.name}: {self._client.clean(text)}"))
        finally:
            server.outstanding -= 1

    def _options(self, most: int, row: int | None = None) -> dict[str, JsonValue]:
        least = min(self._params.min_new_tokens, most)
        return self._route.options(most, least, self._params.sampling, row)

    def _prompt(self, ids: Sequence[int]) -> object:
        if self._route.ids_in:
            return list(ids)
        # The server puts its own begin before a text.
        begin = 1 if ids and ids[0] == self._tokenizer.bos_token_id else 0
        return self._tokenizer.decode(list(ids[begin:]), skip_special_tokens=False)

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self._client.close()


@dataclass
class Answer:
    """One answer as it comes; reports its first token and its end to the sink.

    Attributes:
        most: tokens that it may have. vocab_size: ids are below it.
        encode: text to token ids, where the server gives none.
        whole: whether its end has come.
    """

    row: int
    sink: Sink
    most: int
    vocab_size: int
    encode: Encode | None
    whole: bool = False
    _begun: bool = False
    _pieces: int = 0
    _rest: list[int] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)

    def take(self, piece: Piece) -> None:
        """What a stream brought.

        Raises:
            EngineError: if it does not answer the query.
        """
        if self.whole:
            return
        if self.encode is None:
            self._take_ids(piece.ids)
        else:
            self._take_text(piece.text, self.encode)
        if piece.ended:
            if not self._begun:
                raise EngineError("it answered with no token at all")
            if self.encode is not None:
                self._rest += self.encode("".join(self._text))
            self.whole = True
            self.sink.done(self.row, self._rest)

    def _take_ids(self, ids: object) -> None:
        if not isinstance(ids, list | None):
            raise EngineError(f"it answered with token_ids = {ids!r}, which is not a list")
        for token in ids or ():
            if type(token) is not int or not 0 <= token < self.vocab_size:
                raise EngineError(f"it answered with {token!r}, which is not a token of the model")
        self._add(ids or [])
        if len(self._rest) >= self.most:
            raise EngineError(f"it answered with more than the {self.most} tokens requested")

    def _take_text(self, text: object, encode: Encode) -> None:
        """Only the first piece is encoded at once, the rest at the answer's end."""
        if not isinstance(text, str | None):
            raise EngineError(f"it answered with text = {text!r}, which is not text")
        if not text:
            return
        self._pieces += 1
        if self._pieces > self.most:
            raise EngineError(f"it answered with more than the {self.most} tokens requested")
        if self._begun:
            self._text.append(text)
        else:
            self._add(encode(text))

    def _add(self, ids: list[int]) -> None:
        """Keep token ids; the answer's first goes to the sink at once."""
        if ids and not self._begun:
            self._begun = True
            self.sink.first(self.row, ids.pop(0), None)
        self._rest += ids
