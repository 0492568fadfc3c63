"""A test's time, step by step, against what the machine's measured limits allow for each step.

The limits and the counting are those of ``analysis.roofline``. The least time of a step is the
longer of two: to read the weights and its queries' keys and values, and to compute its tokens.
The report's shares of the limit come from here (``shares``).
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.load import Busy
from loadgen_study.analysis.replicas import several, working
from loadgen_study.analysis.roofline import Roofline, flops, kv_bytes
from loadgen_study.facts.inputs import Model
from loadgen_study.facts.results import Metrics

STEP_COLUMNS = {"prefill_tokens", "decode_tokens", "first_tokens", "duration_ms"}


@dataclass(frozen=True)
class Placed:
    """In which steps a test's queries were answered."""

    # Those that computed something, numbered from 0 (see ``telemetry.steps_table``).
    steps: pd.DataFrame
    # Those with a first token, in the order of their first tokens (see ``metrics.latencies``), with
    # first_step and last_step: the numbers of the steps that made their first and last token.
    queries: pd.DataFrame
    # Whether the engine reports how long its steps took. Else a step's duration_ms is the time
    # since the one before in which a query was there.
    timed: bool

    @property
    def decode_batch(self) -> float:
        """Queries in a step that only decodes, mean; in any step where each reads prompts."""
        alone = self.steps[self.steps["prefill_tokens"] == 0]
        return float((self.steps if alone.empty else alone)["decode_tokens"].mean())


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Where a test's time went; the four parts add up to ``whole_s``."""

    whole_s: float  # the test
    least_s: float  # the least time of all its steps
    slow_s: float  # what they took beyond it, less what some took below it
    gap_s: float  # between steps, with a query there
    idle_s: float  # without a query there
    gaps_known: bool  # False where what lies between two steps counts to the second
    # A row a step: time_s (its end), prefill_tokens, decode_tokens, duration_ms, least_ms,
    # computing (whether the matrix rate sets its least time).
    steps: pd.DataFrame

    @property
    def share(self) -> float:
        """Of the limit of the whole test, 0 to 1."""
        return self.least_s / self.whole_s


@dataclass(frozen=True)
class NoAnatomy:
    """A test whose steps cannot be analysed; ``reason`` ends a sentence."""

    reason: str


@dataclass(frozen=True)
class Work:
    """Decode or prefill against the limits; NaN times where there was none of it."""

    # Mean of a step, ms; of a token or a prompt where the steps are not known.
    took_ms: float
    least_ms: float  # by the measured limits
    computing: bool  # whether the matrix rate, not the memory, sets most of the least time
    steps: int = 0  # 0 where they are not known

    @property
    def share(self) -> float:
        """Of the limit, from 0; above 1 the limit was measured too low. NaN without this work."""
        return self.least_ms / self.took_ms if self.took_ms else math.nan

    @property
    def too_low(self) -> bool:
        """Whether the work took less than its least time."""
        return self.share > 1


@dataclass(frozen=True)
class Shares:
    """How near decode and prefill came to the machine's limits.

    Attributes:
        decode: of the steps that only decode. prefill: of those that read prompts, with what they
            decode besides.
        from_steps: False where the steps are not known: decode is then TPOT, which holds other
            queries' prefills, and prefill the time from the batch to the first token, which holds
            other queries' prompts.
    """

    decode: Work
    prefill: Work
    from_steps: bool

    @property
    def too_low(self) -> bool:
        """Whether a limit was measured too low."""
        return self.decode.too_low or self.prefill.too_low


def shares(found: Anatomy | NoAnatomy, limits: Roofline, metrics: Metrics) -> Shares:
    """Decode and prefill against the limits: from steps, or from latencies without them."""
    if isinstance(found, Anatomy):
        prefill = found.steps["prefill_tokens"] > 0
        return Shares(_work(found.steps[~prefill]), _work(found.steps[prefill]), True)
    decode_ms = max(limits.decode_limit_ms, limits.decode_computing_ms)
    computing = limits.decode_computing_ms > limits.decode_limit_ms
    decode = Work(metrics.tpot_ms.mean, decode_ms, computing)
    return Shares(decode, Work(metrics.prefill_ms.mean, limits.prefill_limit_ms, True), False)


def _work(steps: pd.DataFrame) -> Work:
    computing = float(steps.loc[steps["computing"], "least_ms"].sum())
    means = steps[["duration_ms", "least_ms"]].mean()
    mostly = computing > float(steps["least_ms"].sum()) / 2
    return Work(float(means["duration_ms"]), float(means["least_ms"]), mostly, len(steps))


def placed(steps: pd.DataFrame, frame: pd.DataFrame) -> Placed | NoAnatomy:
    """Which step made which query's tokens, derived from counts, not from clocks.

    Each step reports how many first tokens it made, and queries get theirs in the order of the
    steps. From there each step makes one token of a query.
    """
    if steps.empty:
        return NoAnatomy("the engine reports no steps")
    if STEP_COLUMNS - set(steps.columns):
        return NoAnatomy("it was made before the tokens of each step were recorded")
    if several(steps):
        return NoAnatomy("the steps of several engines overlap")
    worked = working(steps).reset_index(drop=True)
    begun = frame[frame["first_token_s"].notna()].sort_values("first_token_s", kind="stable")
    if frame["done_s"].isna().all():
        return NoAnatomy("no query was answered")
    if worked["first_tokens"].sum() != len(begun):
        return NoAnatomy(
            f"its steps made {worked['first_tokens'].sum()} first tokens, and {len(begun)} queries "
            "have one"
        )
    first = np.repeat(worked.index.to_numpy(), worked["first_tokens"])
    last = first + np.maximum(begun["output_tokens"].to_numpy(int) - 1, 0)
    last = np.minimum(last, len(worked) - 1)
    timed = bool(worked["duration_ms"].notna().all())
    if not timed:
        busy = Busy(frame, float(frame["done_s"].max()))
        lasted_s = np.diff(busy.until(worked["time_s"].to_numpy(float)), prepend=0.0)
        worked = worked.assign(duration_ms=lasted_s * 1e3)
    return Placed(worked, begun.assign(first_step=first, last_step=last), timed)


def anatomy(
    found: Placed, frame: pd.DataFrame, whole_s: float, model: Model, limits: Roofline,
    kv_cache_dtype: str = "auto",
) -> Anatomy:  # fmt: skip
    """Where the time of a test went.

    Args:
        found: of ``placed``. whole_s: the test's duration.
        limits: of ``roofline.roofline``.
    """
    steps = found.steps
    busy = Busy(frame, whole_s)
    reading_ms, computing_ms = _least_ms(found, model, limits, kv_cache_dtype)
    least_ms = np.maximum(reading_ms, computing_ms)
    # The clocks of the engine and of the harness differ by what a message takes.
    stepped_s = min(float(steps["duration_ms"].sum()) / 1e3, busy.all_s)
    least_s = float(least_ms.sum()) / 1e3
    columns = steps[["time_s", "prefill_tokens", "decode_tokens", "duration_ms"]]
    return Anatomy(
        whole_s=whole_s,
        least_s=least_s,
        slow_s=stepped_s - least_s,
        gap_s=busy.all_s - stepped_s,
        idle_s=whole_s - busy.all_s,
        gaps_known=found.timed,
        steps=columns.assign(least_ms=least_ms, computing=computing_ms > reading_ms),
    )


def _least_ms(
    found: Placed, model: Model, limits: Roofline, kv_cache_dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """Least time to read and to compute each step, (steps,) each.

    Of a prompt that is computed in parts the keys and values of the earlier ones are not counted
    as read, and attention in prefill is that of the mean prompt: the first makes the least time a
    little too small, the second moves a little of it from step to step.
    """
    prefill = found.steps["prefill_tokens"].to_numpy(float)
    decode = found.steps["decode_tokens"].to_numpy(float)
    decoded, context = _contexts(found)
    prompts = found.queries["input_tokens"].to_numpy(float)
    looked_back = decode * context + prefill * (prompts**2).sum() / prompts.sum() / 2
    sampled = decode + found.steps["first_tokens"].to_numpy(float)
    # A query that tries several tokens at once reads its context once.
    kv_read = np.minimum(decode, decoded) * kv_bytes(model, context, kv_cache_dtype)
    reading_ms = limits.weights_read_ms(prefill + decode) + kv_read / limits.bandwidth_gb_s / 1e6
    computing = flops(model, prefill + decode, sampled, looked_back)
    return reading_ms, computing / limits.rate_tflop_s / 1e9


def _contexts(found: Placed) -> tuple[np.ndarray, np.ndarray]:
    """How many queries each step decodes, and their mean context, tokens; (steps,) each.

    The k-th token after the first looks back on prompt and k tokens.
    """
    queries, steps = found.queries, len(found.steps)
    first, last = queries["first_step"].to_numpy(), queries["last_step"].to_numpy()
    prompts = queries["input_tokens"].to_numpy(float)

    def over_steps(amounts: np.ndarray) -> np.ndarray:
        """Sum over the queries of what each has in its steps after the first."""
        begun, ended = (np.bincount(at + 1, amounts, steps + 1) for at in (first, last))
        return np.cumsum(begun - ended)[:steps]

    decoded = over_steps(np.ones(len(queries)))
    context = over_steps(prompts - first) + decoded * np.arange(steps)
    return decoded, np.divide(context, decoded, out=np.zeros(steps), where=decoded > 0)
