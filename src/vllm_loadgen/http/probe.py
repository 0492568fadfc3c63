"""Probes a server before the test: model, best route, version, prefix cache."""

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress

from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.client import BUSY, Client, Server
from vllm_loadgen.http.routes import COMPLETIONS, Piece, Route, excerpt, problem_of
from vllm_loadgen.sampling import Sampling

# A first short query may find the server still loading.
PROBE_S, VERSION_S = 300.0, 5.0
MODELS = "/v1/models"
# Where servers give their version: vLLM; Ollama; SGLang; llama.cpp.
VERSIONS = {"/version": "version", "/api/version": "version", "/get_server_info": "version",
            "/props": "build_info"}  # fmt: skip
# Ollama's signature in its streams (its openai/openai.go, ToCompleteChunk).
OLLAMA = "fp_ollama"
PROBE_TOKENS = 2
PROBE_IDS, PROBE_TEXT = (1, 2, 3), "Hello"
# A prefix cache is likely if a repeated long prompt takes less than this share of another prompt's
# time, and is faster by at least this many seconds.
FASTER_SHARE, FASTER_S = 0.5, 0.02
NAMES_SHOWN = 5
NO_PATH = (404, 405)
# Exceptions that JSON of another shape raises.
DAMAGED = (ValueError, TypeError, KeyError, RecursionError)
NEEDS_COMPLETIONS = (
    "Give a server that has /v1/completions, or set chat_template False for one that has only "
    "/v1/chat/completions: it wraps each prompt itself"
)
# docs.ollama.com/api/openai-compatibility: "prompt currently only accepts a string"; the string
# goes through the model's template (its server/routes.go, GenerateHandler without raw).
WRAPS = "Ollama's /v1/completions takes no token ids, and wraps a text in the model's template"
CHAT_CURE = "Set chat_template False: then /v1/chat/completions wraps each prompt, once"


async def list_models(client: Client, server: Server, named: str) -> dict[str, object]:
    """``max_model_len`` of a server's models, by name.

    Args:
        named: the model to request; empty: the server's only one. A server without a list of
            models needs it, and gives an empty result.

    Raises:
        EngineError: if the server lists no models.
    """
    status, body = await client.get(server, MODELS)
    if status in NO_PATH and named:
        return {}
    if status != 200:
        raise client.no_server(server, problem_of(MODELS, status, body), status)
    try:
        listed = [card for card in json.loads(body)["data"] if isinstance(card, dict)]
        found = {str(card["id"]): card.get("max_model_len") for card in listed if card.get("id")}
    except DAMAGED:
        raise client.no_server(server, f"it names no models at {MODELS}") from None
    if not found:
        raise client.no_server(server, "it serves no model")
    return found


def choose_model(
    servers: Sequence[Server], listed: Sequence[Mapping[str, object]], named: str
) -> str:
    """The model to request.

    Args:
        listed: of each server, by ``list_models``. named: as there.

    Raises:
        EngineError: if a server lacks it, or several are listed and none is named.
    """
    shown = [", ".join(map(excerpt, list(known)[:NAMES_SHOWN])) for known in listed]
    if not named and len(listed[0]) > 1:
        problem = f"{servers[0].url} serves {len(listed[0])} models"
        raise EngineError(f"{problem}. Give one as served_model: {shown[0]}.")
    model = named or next(iter(listed[0]))
    for server, known, names in zip(servers, listed, shown, strict=True):
        if known and model not in known:
            problem = f"served_model = {model!r}: {server.url} has no such model"
            raise EngineError(f"{problem}. It serves {names}.")
    return model


async def find_version(client: Client, servers: Sequence[Server]) -> str | None:
    """The servers' versions; None if no server gives one."""
    found = {await _version(client, server): None for server in servers}
    return ", ".join(version for version in found if version) or None


async def _version(client: Client, server: Server) -> str:
    for path, name in VERSIONS.items():
        with suppress(EngineError, *DAMAGED):
            status, body = await client.get(server, path, VERSION_S)
            if status == 200:
                return excerpt(str(json.loads(body)[name]))
    return ""


async def find_route(
    client: Client,
    servers: Sequence[Server],
    routes: Sequence[Route],
    model: str,
    sampling: Sampling,
) -> Route:
    """The first route that all servers take, tried with a query of two tokens.

    Raises:
        EngineError: if there is none, or a server takes no queries now.
    """
    for route in routes:
        try:
            for server in servers:
                await _try(client, server, route, model, sampling)
            return route
        except EngineError as error:
            problem, status = str(error), getattr(error, "status", 0)
        if status in BUSY:
            break  # a busy server does not tell whether it has the route
    cure = NEEDS_COMPLETIONS if status in NO_PATH else CHAT_CURE if problem == WRAPS else ""
    raise client.no_server(server, problem, status, cure)


async def _try(
    client: Client, server: Server, route: Route, model: str, sampling: Sampling
) -> None:
    """Send a query outside any measurement.

    Raises:
        EngineError: if the server does not take it by this route.
    """
    prompt = PROBE_IDS if route.ids_in else PROBE_TEXT
    asked = route.body(model, prompt, route.options(PROBE_TOKENS, 1, sampling, 0))
    seen: list[Piece] = []
    try:
        async with asyncio.timeout(PROBE_S), aclosing(client.pieces(server, route, asked)) as it:
            async for piece in it:
                seen.append(piece)
    except TimeoutError:
        raise EngineError(f"it gave no answer for {PROBE_S:.0f} s") from None
    if route.ids_out and not any(piece.ids for piece in seen):
        raise EngineError("it gives no token ids")
    if route.path == COMPLETIONS and any(piece.signature == OLLAMA for piece in seen):
        raise EngineError(WRAPS)


def unlike_prompts(vocab_size: int, length: int) -> tuple[list[int], list[int]]:
    """Two prompts of ``length`` token ids that share no prefix."""
    half = vocab_size // 2
    one, other = ([half // 2 + place * step % half for place in range(length)] for step in (1, 3))
    return one, other


async def likely_cached(
    client: Client, server: Server, route: Route, model: str, prompts: tuple[object, object]
) -> bool:
    """Whether a repeated prompt is answered much sooner than another of its length.

    Args:
        prompts: in the route's form, of one length, without a common prefix.
    """
    one, other = prompts
    _, again_s, other_s = [
        await _first_piece_s(client, server, route, route.body(model, prompt, route.options(1, 1)))
        for prompt in (one, one, other)
    ]
    return again_s < min(FASTER_SHARE * other_s, other_s - FASTER_S)


async def _first_piece_s(
    client: Client, server: Server, route: Route, asked: dict[str, object]
) -> float:
    begin, first_s = time.monotonic(), math.inf
    async with aclosing(client.pieces(server, route, asked)) as pieces:
        async for _ in pieces:
            first_s = min(first_s, time.monotonic() - begin)
    return first_s
