"""The HTTP client of served engines: one pool of connections, each failure as one line."""

import asyncio
import resource
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

import aiohttp

from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.certificates import UNTRUSTED_CURE, trusted
from vllm_loadgen.http.routes import (
    LONGEST_LINE,
    Piece,
    Route,
    excerpt,
    lines_of,
    parse,
    problem_of,
)
from vllm_loadgen.redact import MARK

# Servers close a connection that was idle for 5 s (uvicorn's default, vLLM's and SGLang's too): a
# query sent at that moment would be lost.
KEEP_ALIVE_S = 3.0
CONNECT_S = 30.0
ASK_S = 60.0  # for an answer to GET
ASIDE_S = 1.0  # a server gets no query after a failed connection, if there are others
LONGEST_PROBLEM = 4096
LONGEST_HEADER = 2**16  # bytes of one header line
BUSY = (429, 503)
UNTRUSTED = "its certificate is not trusted or not valid"
CURE = "Give the address of a server that speaks OpenAI's protocol, as in http://host:8000"


class Server:
    """One server: its URL, its number among those given, its outstanding queries."""

    def __init__(self, number: int, url: str) -> None:
        self.number, self.url = number, url
        self.name = url.split("//")[-1].split("/")[0]
        self.outstanding = self.sent = 0
        self.aside_until = 0.0


class Client:
    """One pool of connections to all servers of a test.

    Requests go to the given URLs only: without redirects, proxies and cookies.

    Args:
        key: sent as a bearer token; empty for none. No message shows it.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._http: aiohttp.ClientSession | None = None

    def open(self, secure: bool) -> None:
        """Open the pool on the running event loop.

        Args:
            secure: whether any server speaks HTTPS.

        Raises:
            EngineError: if the certificates that the environment names cannot be read.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # a connection is a file, and Offline opens all at once
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        headers = {"Accept-Encoding": "identity"}  # compression delays a stream
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
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

    async def get(self, server: Server, path: str, limit_s: float = ASK_S) -> tuple[int, bytes]:
        """Status and body of a server's answer.

        Raises:
            EngineError: if it does not answer within ``limit_s``.
        """
        assert self._http is not None
        try:
            async with asyncio.timeout(limit_s):
                async with self._http.get(server.url + path, allow_redirects=False) as response:
                    return response.status, await _body(response, LONGEST_LINE)
        except TimeoutError:
            raise self.no_server(server, f"{path} gave no answer for {limit_s:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.no_server(server, self._cut(error)) from None

    async def pieces(
        self, server: Server, route: Route, asked: dict[str, object]
    ) -> AsyncGenerator[Piece, None]:
        """A streamed answer, piece by piece, as it arrives.

        Raises:
            EngineError: if the server does not answer, or not to the end.
        """
        assert self._http is not None
        ended, first = False, b""
        try:
            async with self._http.post(
                server.url + route.path, json=asked, allow_redirects=False
            ) as response:
                if not 200 <= (status := response.status) < 300:
                    body = await _body(response, LONGEST_PROBLEM)
                    raise NotTaken(status, problem_of(route.path, status, body))
                async for lines in lines_of(response.content.iter_any()):
                    for line in lines:
                        first = first or line
                        if not ended and (piece := parse(line)) is not None:
                            ended = piece.ended
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

    def no_server(
        self, server: Server, problem: str, status: int = 0, cure: str = ""
    ) -> EngineError:
        """The error for a server that cannot be measured, with the cure."""
        key = "OPENAI_API_KEY in the environment"
        refused = f"refused the key in {key}: set it" if self._key else f"wants a key: set {key}"
        cure = cure or {
            401: f"It {refused} to one that this server takes",
            403: f"It {refused} to one that may use this model",
            **dict.fromkeys(BUSY, "Wait until the server takes queries, or ask for a higher limit"),
        }.get(status, UNTRUSTED_CURE if problem.startswith(UNTRUSTED) else CURE)
        return EngineError(f"base_url = {server.url!r}: {self.clean(problem)}. {cure}.")

    def clean(self, text: str) -> str:
        """The beginning of a text as one line; the key, which a server may repeat, is masked."""
        return excerpt(text.replace(self._key, MARK) if self._key else text)

    def _cut(self, error: BaseException) -> str:
        """The failure of a connection in words."""
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

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()


class NotTaken(EngineError):
    """An answer outside 200 to 299."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The first ``most`` bytes of a body."""
    try:
        return await response.content.readexactly(most)
    except asyncio.IncompleteReadError as end:
        return end.partial
