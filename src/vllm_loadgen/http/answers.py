"""One answer of a server as it streams in: checked, and passed on to the sink."""

from collections.abc import Callable
from dataclasses import dataclass, field

from vllm_loadgen.engines.base import Sink
from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.routes import Piece

Encode = Callable[[str], list[int]]


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
        """Only the first piece is encoded at once: the rest can wait for its end."""
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
        """Token ids, of which the answer's first goes to the sink at once."""
        if ids and not self._begun:
            self._begun = True
            self.sink.first(self.row, ids.pop(0), None)
        self._rest += ids
