"""vLLM's own statistics of each step of its engine core, kept in columns."""

import dataclasses
import math
import time
from array import array
from collections.abc import Sequence
from typing import Any

COLUMNS = {
    "monotonic_ns": "q", "running": "q", "waiting": "q", "preempted": "q", "kv_cache_share": "d",
    "prefill_tokens": "q", "decode_tokens": "q", "first_tokens": "q", "duration_ms": "d",
    "replica": "q",
}  # fmt: skip


def detailed() -> dict[str, bool]:
    """vLLM's options that add the tokens of each step to its statistics.

    Older releases have the first option too, but write a line a step into the log instead: there
    it stays off. So does the second here, which stops vLLM from writing those lines: statistics
    are kept for a logger of one's own all the same.
    """
    from vllm.v1.metrics.stats import SchedulerStats

    if "iteration_details" not in {field.name for field in dataclasses.fields(SchedulerStats)}:
        return {}
    return {"enable_logging_iteration_details": True, "disable_log_stats": True}


class StepLog:
    """The statistics of each step (vLLM's ``StatLoggerBase`` by its shape).

    Attributes:
        tokens: of prompts and answers, computed in all steps so far.
        overlaps: whether vLLM prepares a step while it computes the one before. It then waits for
            a step's result for less than the step takes, so no duration is noted.
    """

    def __init__(self) -> None:
        self.overlaps = False
        self.tokens = 0
        self.take()

    def take(self) -> dict[str, Sequence[float]]:
        """The columns so far (see ``Engine.steps``); the next steps go into new ones."""
        taken = getattr(self, "_columns", {})
        self._columns: dict[str, array[Any]] = {name: array(kind) for name, kind in COLUMNS.items()}
        return taken

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, *_: Any, engine_idx: int = 0, **__: Any
    ) -> None:
        """Called by vLLM after each step, before anybody is handed its tokens."""
        if scheduler_stats is None:
            return
        preempted = first = 0
        details = getattr(scheduler_stats, "iteration_details", None)
        if iteration_stats is not None:
            preempted = iteration_stats.num_preempted_reqs
            first = len(iteration_stats.time_to_first_tokens_iter)
        computed = _tokens(details, iteration_stats, first)
        self.tokens += sum(computed[:2])
        row = (
            time.monotonic_ns(),
            scheduler_stats.num_running_reqs,
            scheduler_stats.num_waiting_reqs,
            preempted,
            scheduler_stats.kv_cache_usage,
            *computed,
            engine_idx,
        )
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        if self.overlaps:
            self._columns["duration_ms"][-1] = math.nan

    def log_engine_initialized(self) -> None:
        """Called by vLLM once; nothing to note."""

    def log(self) -> None:
        """Called by vLLM now and then; nothing to print."""

    def record_sleep_state(self, *_: Any) -> None:
        """Called by vLLM when the engine sleeps; ours never does."""

    def record_admission_rejection(self, *_: Any) -> None:
        """Called by vLLM when it refuses a query, which fails by itself."""


def _tokens(details: Any, iteration: Any, first: int) -> tuple[int, int, int, float]:
    """prefill_tokens, decode_tokens, first_tokens and duration_ms of a step.

    Without the scheduler's details a prompt counts in the step that ends it, whatever part of it
    earlier steps computed or a cache held.
    """
    if details is not None:
        return details.num_ctx_tokens, details.num_generation_tokens, first, details.elapsed_ms
    if iteration is None:
        return 0, 0, 0, math.nan
    return iteration.num_prompt_tokens, iteration.num_generation_tokens - first, first, math.nan
