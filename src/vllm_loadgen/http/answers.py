"""One answer of a server as it streams in: checked, and passed on to the sink."""

from collections.abc import Callable

from vllm_loadgen.engines.base import Sink
from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.routes import Piece

Encode = Callable[[str], list[int]]


class Answer:
    """One answer as it comes; tells the sink of its first token and of its end.

    Args:
        most: tokens that it may have. vocab_size: ids are below it.
        encode: text to token ids, where the server gives none.
    """

    def __init__(
        self, row: int, sink: Sink, most: int, vocab_size: int, encode: Encode | None
    ) -> None:
        self.whole = False
        self._row = row
        self._sink = sink
        self._most = most
        self._vocab_size = vocab_size
        self._encode = encode
        self._begun = False
        self._pieces = 0
        self._rest: list[int] = []
        self._text: list[str] = []

    def take(self, piece: Piece) -> None:
        """What a stream brought.

        Raises:
            EngineError: if it is no answer to what was asked.
        """
        if self.whole:
            return
        if self._encode is None:
            self._take_ids(piece.ids)
        else:
            self._take_text(piece.text, self._encode)
        if piece.ended:
            if not self._begun:
                raise EngineError("it answered with no token at all")
            if self._encode is not None:
                self._rest += self._encode("".join(self._text))
            self.whole = True
            self._sink.done(self._row, self._rest)

    def _take_ids(self, ids: object) -> None:
        if not isinstance(ids, list | None):
            raise EngineError(f"it answered with token_ids = {ids!r}, which is not a list")
        for token in ids or ():
            if type(token) is not int or not 0 <= token < self._vocab_size:
                raise EngineError(f"it answered with {token!r}, which is no token of the model")
        if ids and not self._begun:
            self._first(ids[0])
            ids = ids[1:]
        self._rest += ids or ()
        if len(self._rest) >= self._most:
            raise EngineError(f"it answered with more than the {self._most} tokens asked for")

    def _take_text(self, text: object, encode: Encode) -> None:
        """Only the first piece is encoded at once: the rest can wait for its end."""
        if not isinstance(text, str | None):
            raise EngineError(f"it answered with text = {text!r}, which is not text")
        if not text:
            return
        self._pieces += 1
        if self._pieces > self._most:
            raise EngineError(f"it answered with more than the {self._most} tokens asked for")
        if self._begun:
            self._text.append(text)
        elif ids := encode(text):
            self._first(ids[0])
            self._rest += ids[1:]

    def _first(self, token: int) -> None:
        self._begun = True
        self._sink.first(self._row, token, None)
