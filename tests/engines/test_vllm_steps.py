"""What vLLM tells of its steps, and that the action of a finding does what it says."""

import asyncio
import time

import pytest
from helpers import make_records

from loadgen_study.analysis.anatomy import placed
from loadgen_study.analysis.metrics import latencies
from loadgen_study.findings.steps import _later_tokens
from loadgen_study.inputs import models
from loadgen_study.params import RunParams
from vllm_loadgen.engines.vllm import VllmEngine
from vllm_loadgen.harness.telemetry import steps_table

pytestmark = pytest.mark.engine
# The first is read for long enough that all others wait for the next step together.
LENGTHS, ANSWER = [700, 150, 160, 170, 180], 4


class Watch:
    """A sink that keeps the time of each answer's begin and end, s."""

    def __init__(self):
        self.first_s, self.done_s, self.all = {}, {}, asyncio.Event()

    def first(self, row, token, started_ns):
        self.first_s[row] = time.monotonic()

    def done(self, row, rest):
        assert len(rest) == ANSWER - 1
        self.done_s[row] = time.monotonic()
        if len(self.done_s) == len(LENGTHS):
            self.all.set()

    def refuse(self, row, error):
        raise error

    failed = refuse


async def answered(params, path):
    """Steps and queries of an engine that is asked the first prompt, and at once all others."""
    engine, watch = VllmEngine(params, path), Watch()
    facts = await engine.start()
    try:
        start_s, issued_s = time.monotonic(), []
        for row, length in enumerate(LENGTHS):
            engine.submit(row, list(range(100, 100 + length)), watch)
            issued_s.append(time.monotonic() - start_s)
            await asyncio.sleep(0.05 if row == 0 else 0.001)
        await watch.all.wait()
    finally:
        await engine.stop()
    rows = [(at_s, at_s, None, watch.first_s[row] - start_s, watch.done_s[row] - start_s,
             LENGTHS[row], ANSWER) for row, at_s in enumerate(issued_s)]  # fmt: skip
    steps = steps_table(engine.steps(), int(start_s * 1e9)).to_pandas()
    return placed(steps, latencies(make_records(rows))), facts


def test_the_steps_tell_every_token_and_a_cap_lets_the_first_go_first():
    params = RunParams(
        max_new_tokens=ANSWER, min_new_tokens=ANSWER, max_num_seqs=8, max_model_len=1024,
        cpu_kv_cache_gib=1,
    )  # fmt: skip
    path = models.resolve(params.model)
    params = params.changed(dtype=models.resolve_dtype(params.dtype, path))
    waited = {}
    for budget in (2048, 256):
        found, facts = asyncio.run(
            answered(params.changed(max_num_batched_tokens=budget), str(path))
        )
        steps = found.steps
        assert facts.max_num_batched_tokens == budget
        assert steps["prefill_tokens"].sum() == sum(LENGTHS)
        assert steps["decode_tokens"].sum() == len(LENGTHS) * (ANSWER - 1)
        assert (steps["prefill_tokens"] + steps["decode_tokens"]).max() <= budget
        assert found.told
        assert (steps["duration_ms"] > 0).all()
        waited[budget] = _later_tokens(found)[0].sum()
    # Uncapped the second waits for the three after it, the third for two, the fourth for one.
    assert waited[2048] == 3 * 180 + 2 * 170 + 160
    assert waited[256] < waited[2048] / 2
