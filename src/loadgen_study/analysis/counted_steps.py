"""Steps that a server counted over a test, where the time of each is not known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.load import Busy
from loadgen_study.analysis.roofline import Roofline, flops, kv_bytes
from loadgen_study.facts.inputs import Model
from vllm_loadgen.records.result import ServerCounts


@dataclass(frozen=True)
class CountedSteps:
    """The steps of one engine over a test.

    Attributes:
        steps: how many. tokens: mean of a step, prefill and decode. step_ms: mean time of a step,
            with the time to the next one, while a query was there.
        least_s: lower bound of the time of all steps, by the machine's limits. share: of the whole
            test.
    """

    steps: int
    tokens: float
    step_ms: float
    least_s: float
    share: float


def counted_steps(
    counts: ServerCounts, frame: pd.DataFrame, whole_s: float, model: Model, limits: Roofline,
    kv_cache_dtype: str = "auto",
) -> CountedSteps | None:  # fmt: skip
    """A test's steps by the server's counters; None where it does not count them.

    Each step reads the weights; each token after the first, the keys and values of its prompt at
    least. The longer of reading and computing is a lower bound: each step needs the longer of its
    own two.

    Args:
        whole_s: the test's duration.
    """
    computed = (counts.prompt_tokens or 0) - (counts.cached_tokens or 0)
    if not counts.steps or not counts.output_tokens or counts.draft_tokens or computed <= 0:
        return None
    done = frame.dropna(subset=["done_s"])
    prompts, outputs = (done[f"{name}_tokens"].to_numpy(float) for name in ("input", "output"))
    decoded = np.maximum(outputs - 1, 0)
    weights_ms = counts.steps * float(limits.weights_read_ms(np.ones(1))[0])
    kv_read = float((decoded * kv_bytes(model, prompts, kv_cache_dtype)).sum())
    reading_s = weights_ms / 1e3 + kv_read / limits.bandwidth_gb_s / 1e9
    tokens = computed + float(decoded.sum())
    operations = flops(model, tokens, float(outputs.sum()), float((decoded * prompts).sum()))
    least_s = max(reading_s, float(operations) / limits.rate_tflop_s / 1e12)
    busy_s = Busy(frame, whole_s).all_s
    return CountedSteps(
        steps=counts.steps,
        tokens=(computed + counts.output_tokens) / counts.steps,
        step_ms=busy_s / counts.steps * 1e3,
        least_s=least_s,
        share=least_s / whole_s,
    )
