"""How much longer an engine's steps take with more queries in them, and the batch that keeps a
limit on the time per output token."""

import heapq
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.anatomy import Placed
from loadgen_study.analysis.percentiles import percentile

# Steps that decode alone, of which there must be so many for a line through them.
LEAST_STEPS = 100
# From the smallest batch to the largest a step must grow by so much: less is chance.
LEAST_GROWTH = 0.02


@dataclass(frozen=True, eq=False)
class StepTime:
    """A step's time as a line over the queries that it decodes, and the answers about that line."""

    fixed_ms: float  # of a step, whatever is in it
    decode_ms: float  # that each query adds to it
    prefill_ms: float  # that each query adds by the prompts read meanwhile, one for each answer
    tokens: float  # of an answer after its first, mean
    answers: pd.DataFrame  # a row a query: batch (queries in its steps, mean), tpot_ms

    def tpot_ms(self, batch: float, share: float | None = None) -> float:
        """Time per output token with so many queries always there: a percentile, or the mean."""
        return self._slower(share) * (self.fixed_ms + self.query_ms * batch)

    @property
    def query_ms(self) -> float:
        """All that each query adds to a step."""
        return self.decode_ms + self.prefill_ms

    def _slower(self, share: float | None) -> float:
        """How many times longer than by the line the answers took.

        It holds what the line leaves out: the time between steps, prompts that came in bunches.
        """
        by_line = self.fixed_ms + self.query_ms * self.answers["batch"]
        times = self.answers["tpot_ms"] / by_line
        return float(times.mean()) if share is None else percentile(times, share)

    def most(self, limit_ms: float, share: float) -> int:
        """Most queries at once that keep a limit at a percentile; below 1 if none do."""
        return int((limit_ms / self._slower(share) - self.fixed_ms) // self.query_ms)

    def served_per_s(self, batch: int) -> float:
        """Queries a second that are answered with so many always there."""
        return batch / (self.tokens * self.tpot_ms(batch)) * 1e3

    def waits_ms(self, queries: pd.DataFrame, batch: int) -> np.ndarray:
        """How long each query would wait for one of so many places, (queries,).

        Each keeps its place as long as it does where all are taken, which is the longest.

        Args:
            queries: issued_s and output_tokens, by issued_s.
        """
        free_ms, waits = [0.0] * batch, []
        token_ms = self.tpot_ms(batch)
        for at_ms, tokens in zip(queries["issued_s"] * 1e3, queries["output_tokens"], strict=True):
            begin_ms = max(at_ms, free_ms[0])
            heapq.heapreplace(free_ms, begin_ms + tokens * token_ms)
            waits.append(begin_ms - at_ms)
        return np.array(waits)


def step_time(found: Placed) -> StepTime | None:
    """The line through a test's steps, by least squares over the median of each batch that they
    had; None where they are too few, or lie on no line that rises.

    Args:
        found: of ``anatomy.placed``.
    """
    steps, queries = found.steps, found.queries
    answered = queries[queries["tpot_ms"].notna() & (queries["last_step"] > queries["first_step"])]
    alone = steps[steps["prefill_tokens"] == 0]
    batches = alone.groupby("decode_tokens")["duration_ms"].agg(["median", "size"])
    if len(alone) < LEAST_STEPS or len(batches) < 2 or answered.empty:
        return None
    line = np.polyfit(batches.index, batches["median"], 1, w=np.sqrt(batches["size"]))
    least_ms, most_ms = np.polyval(line, [batches.index.min(), batches.index.max()])
    if line[1] < 0 or most_ms < (1 + LEAST_GROWTH) * least_ms:
        return None
    reading = steps[steps["prefill_tokens"] > 0]
    prefill_ms = (reading["duration_ms"] - np.polyval(line, reading["decode_tokens"])).clip(lower=0)
    tokens = float((answered["output_tokens"] - 1).mean())
    before = np.append(0, steps["decode_tokens"].cumsum())
    first, last = answered["first_step"].to_numpy() + 1, answered["last_step"].to_numpy() + 1
    batch = (before[last] - before[first]) / (last - first)
    return StepTime(
        fixed_ms=float(line[1]),
        decode_ms=float(line[0]),
        prefill_ms=float(prefill_ms.sum()) / len(queries) / tokens,
        tokens=tokens,
        answers=answered[["tpot_ms"]].assign(batch=batch),
    )
