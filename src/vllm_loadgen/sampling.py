"""How an engine chooses the next token."""

from dataclasses import dataclass
from hashlib import blake2b

SEED_BYTES = 4  # halved: every engine takes a seed of 31 bits


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0, else a draw from the model's distribution.

    Attributes:
        top_p: draw from the likeliest tokens of this total probability.
        top_k: draw from this many of the likeliest tokens; 0: from all.
        seed: from which each query's own is derived; None: no query is seeded.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is chosen always."""
        return self.temperature == 0

    def seed_of(self, row: int) -> int | None:
        """A query's own seed, the same at each run; None if it has none.

        Args:
            row: number of the query in its test.
        """
        if self.greedy or self.seed is None:
            return None
        text = f"{self.seed} {row}".encode()
        return int.from_bytes(blake2b(text, digest_size=SEED_BYTES).digest()) >> 1

    def __str__(self) -> str:
        if self.greedy:
            return "greedy"
        parts = [f"temperature {self.temperature:g}"]
        parts += [f"top_p {self.top_p:g}"] if self.top_p < 1 else []
        parts += [f"top_k {self.top_k}"] if self.top_k else []
        return f"sampled at {', '.join(parts)}"


GREEDY = Sampling()
