"""The prompts as two arrays: 4 bytes a token id, where a list of Python's ints takes up to 36."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

# LoadGen and the engines write a token id in 32 bits.
MOST_ID = 2**31 - 1


class Prompts(Sequence[Sequence[int]]):
    """Token ids of each prompt, by number.

    A prompt is read as a view, which copies nothing, and whose ids are Python's ints.

    Args:
        ids: of all prompts, one behind the other; int32.
        offsets: where in them each prompt begins, and the end of the last; int64.
    """

    def __init__(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        self.ids, self.offsets = ids, offsets
        # Not numpy's indexing, which takes three times as long; a test reads one for each query.
        self._ids, self._begins, self._ends = ids.data, offsets.data[:-1], offsets.data[1:]

    @classmethod
    def of(cls, prompts: Iterable[Sequence[int]]) -> "Prompts":
        """Sequences of token ids from 0 to ``MOST_ID``, each stored before the next is read.

        Raises:
            OverflowError: if an id needs more than 32 bits.
        """
        if isinstance(prompts, Prompts):
            return prompts
        ids, offsets = array("i"), array("q", [0])
        for prompt in prompts:
            ids.extend(prompt)
            offsets.append(len(ids))
        return cls(np.array(ids, np.int32), np.array(offsets, np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt, int64."""
        return np.diff(self.offsets)

    @property
    def sha256(self) -> str:
        """SHA-256, hex, of what the engine is asked: the token ids and where each prompt begins."""
        digest = hashlib.sha256(self.offsets.astype("<i8").tobytes())
        digest.update(self.ids.astype("<i4").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, number: int) -> Sequence[int]: ...
    @overload
    def __getitem__(self, number: slice) -> "Prompts": ...
    def __getitem__(self, number: int | slice) -> "Sequence[int] | Prompts":
        if isinstance(number, slice):
            return Prompts.of(self[at] for at in range(len(self))[number])
        return self._ids[self._begins[number] : self._ends[number]]

    def __repr__(self) -> str:
        return f"Prompts({len(self)} of {len(self.ids)} tokens)"

    def __reduce__(self) -> tuple[type["Prompts"], tuple[np.ndarray, np.ndarray]]:
        return Prompts, (self.ids, self.offsets)  # a view cannot be sent
