"""The routes of OpenAI-compatible servers: what is asked of each, and what its stream says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_loadgen.errors import EngineError

LONGEST_EXCERPT = 200
# What a stream says of an answer that is whole; others are "abort", "error" and their like.
WHOLE = ("stop", "length", "eos")


@dataclass(frozen=True)
class Route:
    """One way to ask.

    Attributes:
        name: in reports. path: after the server's URL.
        ids_in: the prompt goes as token ids, else as text. ids_out: the answer comes as them.
        extended: options that are vLLM's and not OpenAI's are sent as well.
    """

    name: str
    path: str
    ids_in: bool
    ids_out: bool
    extended: bool

    def body(self, model: str, prompt: object, most: int, least: int) -> dict[str, Any]:
        """The JSON of one query: greedy, streamed.

        Args:
            prompt: token ids, or text. most, least: tokens of the answer.
        """
        if self.path == GENERATE:
            sampling = {"temperature": 0.0, "max_tokens": most, "min_tokens": least,
                        "detokenize": False}  # fmt: skip
            return {"model": model, "token_ids": prompt, "sampling_params": sampling,
                    "stream": True}  # fmt: skip
        asked = {"model": model, "prompt": prompt, "max_tokens": most, "temperature": 0.0,
                 "stream": True}  # fmt: skip
        if self.extended:
            # A checkpoint's generation_config may ask for a penalty, which the rules do not know.
            asked |= {"min_tokens": least, "repetition_penalty": 1.0}
        if self.ids_out:
            asked["return_token_ids"] = True
        return asked


GENERATE, COMPLETIONS = "/inference/v1/generate", "/v1/completions"
# The nearest to an engine in process first: each does without one thing more.
ROUTES = (
    Route("vLLM's tokens in, tokens out", GENERATE, True, True, True),
    Route("completions, token ids both ways", COMPLETIONS, True, True, True),
    Route("completions, token ids in and text out", COMPLETIONS, True, False, True),
    Route("completions, token ids in and text out, OpenAI's options alone",
          COMPLETIONS, True, False, False),
    Route("completions, text both ways, OpenAI's options alone",
          COMPLETIONS, False, False, False),
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """What one event of a stream brings; ``ended``: the answer is whole with it."""

    ids: Sequence[int] = field(default_factory=tuple)
    text: str = ""
    ended: bool = False


def parse(line: bytes) -> Piece | None:
    """An event of a stream; None for a line that says nothing.

    Raises:
        EngineError: if it is an error, or nothing that the routes know.
    """
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    if data == b"[DONE]":
        return Piece(ended=True)
    try:
        event = json.loads(data.decode())
        if error := event.get("error"):
            raise EngineError(f"it broke off with: {message_of(error)}")
        if not event.get("choices"):
            return None  # the usage comes in an event of its own
        choice = event["choices"][0]
        ids, text, reason = choice.get("token_ids"), choice.get("text"), choice.get("finish_reason")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise EngineError(f"its stream holds {excerpt(data.decode(errors='replace'))}") from None
    if reason is not None and reason not in WHOLE:
        raise EngineError(f"it ended the answer with {excerpt(str(reason))}")
    return Piece(ids or (), text if isinstance(text, str) else "", reason is not None)


def problem_of(status: int, body: bytes) -> str:
    """What an answer that is not 200 says, as a part of a line."""
    if 300 <= status < 400:
        return f"it redirects to another address (status {status})"
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
        text = message_of(found.get("error") or found.get("detail") or found)
    except (ValueError, AttributeError):
        text = excerpt(text)
    return f"it answers with status {status}" + (f": {text}" if text else "")


def message_of(error: object) -> str:
    """The message of an error as servers write them."""
    if isinstance(error, dict):
        error = error.get("message") or error
    return excerpt(str(error))


def excerpt(text: str) -> str:
    """The begin of a text from outside, as one line of what can be printed."""
    line = " ".join(text.split())[:LONGEST_EXCERPT]
    return "".join(letter for letter in line if letter.isprintable())
