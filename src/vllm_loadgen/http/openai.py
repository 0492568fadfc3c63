"""A server that runs already: any that speaks OpenAI's protocol, over HTTP."""

import asyncio
import json
import math
import resource
import time
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import aiohttp

from vllm_loadgen.certificates import UNTRUSTED_CURE, trusted
from vllm_loadgen.checkpoint import load_tokenizer, vocab_size
from vllm_loadgen.engines.base import Engine, Sink
from vllm_loadgen.errors import EngineError
from vllm_loadgen.http import metrics
from vllm_loadgen.http.answers import Answer, Encode
from vllm_loadgen.http.routes import (
    CHAT_ROUTE,
    LONGEST_LINE,
    ROUTES,
    Piece,
    Route,
    excerpt,
    lines_of,
    parse,
    problem_of,
)
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.redact import MARK

# Servers close a connection that was idle for 5 s (uvicorn's default, vLLM's and SGLang's too). One
# that is taken up at that moment would lose its query.
KEEP_ALIVE_S = 3.0
CONNECT_S = 30.0
# Before the test: an answer to a question about the server, and to a first short query, which may
# find the server still loading.
ASK_S, PROBE_S, VERSION_S = 60.0, 300.0, 5.0
# Of several servers, one that could not be reached is left alone for so long.
ASIDE_S = 1.0
LONGEST_PROBLEM = 4096
# Of one header line, bytes: no header but Location and Content-Encoding is used.
LONGEST_HEADER = 2**16
MODELS = "/v1/models"
PROBE_TOKENS = 2
PROBE_IDS, PROBE_TEXT = (1, 2, 3), "Hello"
METRICS_S = 1.5
# A server without metrics has likely a prefix cache if it answers a long prompt, given again, in
# less than this share of another prompt's time, and sooner by so much.
FASTER_SHARE, FASTER_S = 0.5, 0.02
PROBE_LENGTH, USUAL_LENGTH = 2048, 1024
NAMES_SHOWN = 5
BUSY, NO_PATH = (429, 503), (404, 405)
# What JSON of another shape raises.
DAMAGED = (ValueError, TypeError, KeyError, RecursionError)
UNTRUSTED = "its certificate is not trusted or not valid"
CURE = "Give the address of a server that speaks OpenAI's protocol, as in http://host:8000"
NEEDS_COMPLETIONS = (
    "Give a server that has /v1/completions, or chat_template False for one that has "
    "/v1/chat/completions alone: it wraps each prompt itself"
)


class Server:
    """One URL, by its number among those that were given, with the queries that it owes."""

    def __init__(self, number: int, url: str) -> None:
        self.number, self.url = number, url
        self.name = url.split("//")[-1].split("/")[0]
        self.outstanding = self.sent = 0
        self.aside_until = 0.0


class OpenAIEngine(Engine):
    """One pooled client for one server or several; streamed, least outstanding first.

    No request follows a redirect, goes through a proxy or keeps a cookie: it leaves for the URLs
    that are named, or not at all. The stall of a server is the watch's to see (``harness.watch``).

    Args:
        model_path: folder of the model's tokenizer and config.json.
        key: sent as a bearer; empty for none. It stands in no message.
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
        self._params, self._model_path, self._key = params, model_path, key
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
        self._http: aiohttp.ClientSession | None = None

    # Before the test ------------------------------------------------------------------------
    async def start(self) -> EngineFacts:
        checkpoint, trust = Path(self._model_path), self._params.trust_remote_code
        self._vocab_size = vocab_size(checkpoint, trust)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # a connection is a file, and Offline opens all at once
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        headers = {"Accept-Encoding": "identity"}  # a packed stream comes late
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        secure = any(server.url.startswith("https:") for server in self._servers)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=trusted() if secure else True
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=LONGEST_LINE,
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
        )
        listed = [await self._models(server) for server in self._servers]
        self._model = self._choose(listed)
        self._route = await self._probe()
        if not (self._route.ids_in and self._route.ids_out):
            self._tokenizer = load_tokenizer(checkpoint, trust)
        if not self._route.ids_out:
            self._encode = partial(self._tokenizer.encode, add_special_tokens=False)
        lengths = (lengths.get(self._model) for lengths in listed)
        known = [length for length in lengths if type(length) is int]
        caching, seen_by = await self._prefix_cache(min(known, default=USUAL_LENGTH))
        return EngineFacts(
            engine="openai",
            version=await self._version(),
            options=self._route.options(
                self._params.max_new_tokens, self._params.min_new_tokens, self._params.sampling
            ),
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
                status, body = await self._get(server, metrics.PATH, METRICS_S)
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
        try:
            length = min(PROBE_LENGTH, max_model_len // 2)
            likely = [await self._likely_cached(server, length) for server in self._servers]
        except EngineError:
            return None, None
        return any(likely) or None, "probe"

    async def _likely_cached(self, server: Server, length: int) -> bool:
        """Whether a repeated prompt is answered much sooner than another of its length."""
        half = self._vocab_size // 2
        one, other = (
            [half // 2 + place * step % half for place in range(length)] for step in (1, 3)
        )
        _, again_s, other_s = [await self._first_piece_s(server, ids) for ids in (one, one, other)]
        return again_s < min(FASTER_SHARE * other_s, other_s - FASTER_S)

    async def _first_piece_s(self, server: Server, ids: Sequence[int]) -> float:
        asked = self._route.body(self._model, self._prompt(ids), self._route.options(1, 1))
        begin, first_s = time.monotonic(), math.inf
        async with aclosing(self._pieces(server, self._route, asked)) as pieces:
            async for _ in pieces:
                first_s = min(first_s, time.monotonic() - begin)
        return first_s

    async def _models(self, server: Server) -> dict[str, object]:
        """``max_model_len`` of a server's models, by name; empty if it lists none and need not."""
        status, body = await self._get(server, MODELS)
        if status in NO_PATH and self._params.served_model:
            return {}
        if status != 200:
            raise self._no_server(server, problem_of(MODELS, status, body), status)
        try:
            listed = [card for card in json.loads(body)["data"] if isinstance(card, dict)]
            found = {
                str(card["id"]): card.get("max_model_len") for card in listed if card.get("id")
            }
        except DAMAGED:
            raise self._no_server(server, f"it names no models at {MODELS}") from None
        if not found:
            raise self._no_server(server, "it serves no model")
        return found

    def _choose(self, listed: Sequence[Mapping[str, object]]) -> str:
        """The model to ask for, which every server must have."""
        wanted = self._params.served_model
        shown = [", ".join(map(excerpt, list(known)[:NAMES_SHOWN])) for known in listed]
        if not wanted and len(listed[0]) > 1:
            problem = f"{self._servers[0].url} serves {len(listed[0])} models"
            raise EngineError(f"{problem}. Give one as served_model: {shown[0]}.")
        model = wanted or next(iter(listed[0]))
        for server, known, names in zip(self._servers, listed, shown, strict=True):
            if known and model not in known:
                problem = f"served_model = {model!r}: {server.url} has no such model"
                raise EngineError(f"{problem}. It serves {names}.")
        return model

    async def _version(self) -> str | None:
        """The servers' version, where they give it as vLLM does."""
        found: dict[str, None] = {}
        for server in self._servers:
            with suppress(EngineError, *DAMAGED):
                status, body = await self._get(server, "/version", VERSION_S)
                if status == 200:
                    found[excerpt(str(json.loads(body)["version"]))] = None
        return ", ".join(found) or None

    async def _get(self, server: Server, path: str, limit_s: float = ASK_S) -> tuple[int, bytes]:
        assert self._http is not None
        try:
            async with asyncio.timeout(limit_s):
                async with self._http.get(server.url + path, allow_redirects=False) as response:
                    return response.status, await _body(response, LONGEST_LINE)
        except TimeoutError:
            raise self._no_server(server, f"{path} gave no answer for {limit_s:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._no_server(server, self._cut(error)) from None

    async def _probe(self) -> Route:
        """The first route that all servers take, asked with a query of two tokens."""
        for route in self._routes:
            try:
                for server in self._servers:
                    await self._try(server, route)
                return route
            except EngineError as error:
                problem, status = str(error), getattr(error, "status", 0)
            if status in BUSY:
                break  # it says nothing of the route
        cure = NEEDS_COMPLETIONS if status in NO_PATH else ""
        raise self._no_server(server, problem, status, cure)

    async def _try(self, server: Server, route: Route) -> None:
        """Send a query that nobody measures.

        Raises:
            EngineError: if the server does not take it, or not in this way.
        """
        prompt = PROBE_IDS if route.ids_in else PROBE_TEXT
        options = route.options(PROBE_TOKENS, 1, self._params.sampling, 0)
        asked = route.body(self._model, prompt, options)
        has_ids = False
        try:
            async with asyncio.timeout(PROBE_S), aclosing(self._pieces(server, route, asked)) as it:
                async for piece in it:
                    has_ids = has_ids or bool(piece.ids)
        except TimeoutError:
            raise EngineError(f"it gave no answer for {PROBE_S:.0f} s") from None
        if route.ids_out and not has_ids:
            raise EngineError("it gives no token ids")

    def _no_server(
        self, server: Server, problem: str, status: int = 0, cure: str = ""
    ) -> EngineError:
        """Why nothing can be measured, with the cure."""
        key = "OPENAI_API_KEY in the environment"
        refused = f"refused the key in {key}: set it" if self._key else f"wants a key: set {key}"
        cure = cure or {
            401: f"It {refused} to one that this server takes",
            403: f"It {refused} to one that may use this model",
            **dict.fromkeys(BUSY, "Wait until the server takes queries, or ask for a higher limit"),
        }.get(status, UNTRUSTED_CURE if problem.startswith(UNTRUSTED) else CURE)
        return EngineError(f"base_url = {server.url!r}: {self._clean(problem)}. {cure}.")

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
        """The server that owes least; one that could not be reached just now comes last.

        Of equals the one that was sent the fewest, or the first would get all of a light load.
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
            least = min(self._params.min_new_tokens, most)
            options = self._route.options(most, least, self._params.sampling, row)
            asked = self._route.body(self._model, self._prompt(prompt), options)
            async with aclosing(self._pieces(server, self._route, asked)) as pieces:
                async for piece in pieces:
                    if piece.reason and not answer.whole:
                        self._ends[piece.reason] += 1
                    answer.take(piece)
        except Exception as error:  # a query that is forgotten hangs LoadGen
            if not answer.whole:
                text = str(error) if isinstance(error, EngineError) else repr(error)
                sink.refuse(row, EngineError(f"{server.name}: {self._clean(text)}"))
        finally:
            server.outstanding -= 1

    async def _pieces(
        self, server: Server, route: Route, asked: dict[str, object]
    ) -> AsyncGenerator[Piece, None]:
        """What a server streams, as it comes, to the end of the answer.

        Raises:
            EngineError: if it does not answer, or not to the end.
        """
        assert self._http is not None
        ended, first = False, b""
        try:
            async with self._http.post(
                server.url + route.path, json=asked, allow_redirects=False
            ) as response:
                if not 200 <= (status := response.status) < 300:
                    body = await _body(response, LONGEST_PROBLEM)
                    raise _NotTaken(status, problem_of(route.path, status, body))
                async for lines in lines_of(response.content.iter_any()):
                    for line in lines:
                        first = first or line
                        if not ended and (piece := parse(line)) is not None:
                            ended = piece.ended
                            self._events += 1
                            yield piece
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            server.aside_until = time.monotonic() + ASIDE_S
            raise EngineError(self._cut(error)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EngineError(self._cut(error)) from None
        if not ended and first.startswith((b"{", b"[", b"<")):
            raise EngineError(f"it did not stream its answer: {first.decode(errors='replace')}")
        if not ended:
            raise EngineError("its stream was cut before the end of the answer")

    def _prompt(self, ids: Sequence[int]) -> object:
        if self._route.ids_in:
            return list(ids)
        # The server puts its own begin before a text.
        begin = 1 if ids and ids[0] == self._tokenizer.bos_token_id else 0
        return self._tokenizer.decode(list(ids[begin:]), skip_special_tokens=False)

    def _clean(self, text: str) -> str:
        """The beginning of a text as one line, without the key, which a server may repeat."""
        return excerpt(text.replace(self._key, MARK) if self._key else text)

    def _cut(self, error: BaseException) -> str:
        """What happened to a connection."""
        if isinstance(error, aiohttp.InvalidURL):
            return "it names no address"
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            cause = getattr(getattr(error, "certificate_error", None), "verify_message", "")
            return f"{UNTRUSTED} ({cause or type(error).__name__})"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"it cannot be reached ({error.os_error.strerror or error.os_error})"
        if isinstance(error, TimeoutError):
            return f"it took no connection within {CONNECT_S:.0f} s"
        text = str(error)
        return f"the connection was cut ({type(error).__name__}{f': {text}' if text else ''})"

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._http is not None:
            await self._http.close()


class _NotTaken(EngineError):
    """An answer that is not 200."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The answer's body, ``most`` bytes of it."""
    try:
        return await response.content.readexactly(most)
    except asyncio.IncompleteReadError as end:
        return end.partial
