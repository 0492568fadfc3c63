"""The interface between the SUT and whatever generates tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from vllm_loadgen.records.engine import EngineFacts, TokenScores


class Sink(Protocol):
    """Who takes an engine's answers; every call comes on the event loop's thread."""

    def first(self, row: int, token: int, started_ns: int | None) -> None:
        """The first token of query ``row`` is there.

        Args:
            row: the number given to ``submit``.
            token: its id.
            started_ns: when the engine took the query out of its queue (``time.monotonic_ns``),
                or None if it does not report it.
        """

    def done(self, row: int, rest: Sequence[int]) -> None:
        """Query ``row`` is answered; ``rest`` holds the token ids after the first."""

    def refuse(self, row: int, error: BaseException) -> None:
        """The engine will not answer query ``row``, and goes on with the others."""

    def failed(self, error: BaseException) -> None:
        """The engine will answer nothing more."""


class Engine(ABC):
    """An engine lives on one asyncio loop; all its methods are called there."""

    @abstractmethod
    async def start(self) -> EngineFacts:
        """Load the model; returns engine.json."""

    @abstractmethod
    def submit(
        self, row: int, prompt: Sequence[int], sink: Sink, most_tokens: int | None = None
    ) -> None:
        """Take one query: prompt token ids in, answers to ``sink``; returns at once.

        Args:
            most_tokens: of the answer, where that is less than the engine's own limit.
        """

    def steps(self) -> dict[str, Sequence[float]]:
        """What the engine noted at each step since the last call, by column; empty if nothing.

        Columns: monotonic_ns (at its end), running and waiting (queries), kv_cache_share (0 to 1),
        preempted (queries that lost their place in the KV cache at this step); where the engine
        reports them prefill_tokens (of prompts, computed in it), decode_tokens (queries that were
        decoded, one token each unless it speculates), first_tokens (queries whose first token it
        made), duration_ms (NaN where it is unknown), replica (the number of the engine whose
        step it was, where several share the queries: running and waiting are that one's).
        """
        return {}

    def progress(self) -> int:
        """A number that rises while answers are made, such as tokens so far; 0 if not reported.

        Without it an engine that gives no answer for ``stall_timeout_s`` counts as dead.
        """
        return 0

    def take_routing(self) -> tuple[Sequence[int], Sequence[int]]:
        """The replica chosen for each query since the last call, where there are several.

        Returns:
            the rows of ``submit``, and the number of the replica of each; nothing where there is
            one, or where the engine does not report it.
        """
        return (), ()

    def ends(self) -> Mapping[str, int]:
        """The reasons why answers ended since the last call, counted; empty if not given."""
        return {}

    async def observe(self) -> Mapping[str, float]:
        """A server's metrics now, by the names of ``http.metrics``; empty if there are none."""
        return {}

    async def score(self, prompt: Sequence[int], answer: Sequence[int]) -> TokenScores | None:
        """Score each token of an answer after the prompt; None: this engine cannot.

        Raises:
            ValueError: if it refuses these, and goes on.
        """
        return None

    @abstractmethod
    async def stop(self) -> None:
        """Release processes and memory."""
