"""The routes of OpenAI-compatible servers: the query of each, and the events of its stream."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import JsonValue

from vllm_loadgen.errors import EngineError
from vllm_loadgen.sampling import GREEDY, Sampling

LONGEST_EXCERPT = 200
ALL_TOKENS = -1  # as top_k: vLLM and SGLang take it for no limit
# An answer takes one line at most; twice that is an error.
LONGEST_LINE = 2**20
BOM = b"\xef\xbb\xbf"
# Reasons that all servers give for an answer that the model ended, or that reached its length.
USUAL = ("stop", "length", "eos")
# Reasons of an answer that is not whole, or not the model's.
FAILED = ("abort", "cancelled", "content_filter", "error", "timeout")


@dataclass(frozen=True)
class Route:
    """One form of query.

    Attributes:
        name: in reports. path: after the server's URL.
        ids_in: the prompt goes as token ids, else as text. ids_out: the answer comes as them.
        extra: options that are vLLM's and not OpenAI's; with any, min_tokens is sent as well.
    """

    name: str
    path: str
    ids_in: bool
    ids_out: bool
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    def body(self, model: str, prompt: object, options: dict[str, JsonValue]) -> dict[str, object]:
        """The JSON of one query, streamed.

        Args:
            prompt: token ids, or text. options: of ``options``.
        """
        query: dict[str, object] = {"prompt": prompt, **options}
        if self.path == GENERATE:
            query = {"token_ids": prompt, "sampling_params": options}
        elif self.path == CHAT:
            query = {"messages": [{"role": "user", "content": prompt}], **options}
        return {"model": model, "stream": True, **query}

    def options(
        self, most: int, least: int, sampling: Sampling = GREEDY, row: int | None = None
    ) -> dict[str, JsonValue]:
        """An answer of ``least`` to ``most`` tokens; ``row`` is the query's, whose seed is sent.

        A sampled query says all of it: a server has defaults from generation_config.json.
        """
        asked: dict[str, JsonValue] = {"max_tokens": most, "temperature": sampling.temperature}
        if not sampling.greedy:
            asked["top_p"] = sampling.top_p
        if not sampling.greedy and (sampling.top_k or self.extra):
            asked["top_k"] = sampling.top_k or ALL_TOKENS
        if row is not None and (seed := sampling.seed_of(row)) is not None:
            asked["seed"] = seed
        return {**asked, "min_tokens": least, **self.extra} if self.extra else asked


GENERATE, COMPLETIONS = "/inference/v1/generate", "/v1/completions"
CHAT = "/v1/chat/completions"
# A checkpoint's generation_config may have a penalty, which the rules do not know.
PLAIN: dict[str, JsonValue] = {"repetition_penalty": 1.0}
# The nearest to an engine in process first: each does without one thing more.
ROUTES = (
    Route("vLLM's tokens in, tokens out", GENERATE, True, True, {"detokenize": False}),
    Route("completions, token ids both ways", COMPLETIONS, True, True,
          {**PLAIN, "return_token_ids": True}),
    Route("completions, token ids in and text out", COMPLETIONS, True, False, PLAIN),
    Route("completions, token ids in and text out, OpenAI's options alone",
          COMPLETIONS, True, False),
    Route("completions, text both ways, OpenAI's options alone", COMPLETIONS, False, False),
)  # fmt: skip
# The server wraps the prompt: only for prompts that are not wrapped yet.
CHAT_ROUTE = Route("chat, text both ways, the server's chat template", CHAT, False, False)


@dataclass(frozen=True)
class Piece:
    """What one event of a stream brings.

    Attributes:
        ids, text: as the server sent them, of any type; None if the event has none.
        reason: why the answer ends; empty while it goes on.
        ended: whether the answer is whole.
        signature: what the server calls its software, of any type.
    """

    ids: object = None
    text: object = None
    reason: str = ""
    ended: bool = False
    signature: object = None


def parse(line: bytes) -> Piece | None:
    """An event of a stream; None for a line without a part of the answer.

    Only the fields that the harness uses are looked at.

    Raises:
        EngineError: if the event is an error, is not JSON, or has choices of another shape.
    """
    if not line.startswith(b"data:"):
        return parse(line[len(BOM) :]) if line.startswith(BOM) else None
    data = line[5:].strip()
    if not data:
        return None
    if data == b"[DONE]":
        return Piece(ended=True)
    try:
        event = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise EngineError(f"its stream holds {data.decode(errors='replace')}") from None
    if not isinstance(event, dict):
        return None
    if error := event.get("error") or (event.get("object") == "error" and event):
        raise EngineError(f"it broke off with: {message_of(error)}")
    if not (choices := event.get("choices")):
        return None  # usage comes in an event of its own
    choice = choices[0] if isinstance(choices, list) else None
    if not isinstance(choice, dict):
        raise EngineError(f"its stream holds {data.decode()}")
    reason = excerpt(str(choice.get("finish_reason") or ""))
    reason = "" if reason.lower() in ("null", "none") else reason
    if reason in FAILED:
        raise EngineError(f"it ended the answer with {reason}")
    ids, signature = choice.get("token_ids"), event.get("system_fingerprint")
    return Piece(ids, _text(choice), reason, bool(reason), signature)


def _text(choice: Mapping[str, object]) -> object:
    """Of a completion or a chat turn; what a model thinks before its answer is answer, too."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return choice.get("text")
    parts = (delta.get(name) for name in ("content", "reasoning_content", "reasoning"))
    return next((part for part in parts if part), None)


def problem_of(path: str, status: int, body: bytes) -> str:
    """The problem in an answer outside 200 to 299, as a part of a line."""
    if 300 <= status < 400:
        return f"{path} redirects to another address (status {status})"
    text = body.decode(errors="replace")
    with suppress(ValueError, AttributeError, RecursionError):
        found = json.loads(text)
        text = message_of(found.get("error") or found.get("detail") or found)
    return f"{path} answers with status {status}" + (f": {text}" if text.strip() else "")


def message_of(error: object) -> str:
    """The message of an error as servers write them."""
    if isinstance(error, dict):
        error = error.get("message") or error
    return str(error)


def excerpt(text: str) -> str:
    """The beginning of a text from outside, as one line of printable characters."""
    line = " ".join(text.split())[:LONGEST_EXCERPT]
    return "".join(letter for letter in line if letter.isprintable())


async def lines_of(parts: AsyncIterable[bytes]) -> AsyncGenerator[list[bytes], None]:
    """The whole lines of each part that comes: a wait for each line takes longer than its JSON.

    Raises:
        EngineError: at a line of more than ``LONGEST_LINE`` bytes.
    """
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        yield lines
        if len(rest) > LONGEST_LINE:
            raise EngineError(f"its stream has a line of over {LONGEST_LINE:,} bytes")
    yield [rest]
