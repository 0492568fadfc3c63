"""What vLLM tells of its steps, and that the action of a finding does what it says."""

import pytest
from asked import ANSWER, LENGTHS
from helpers import make_records

from loadgen_study.analysis.anatomy import placed
from loadgen_study.analysis.metrics import latencies
from loadgen_study.findings.steps import _later_tokens
from loadgen_study.inputs import models
from loadgen_study.params import RunParams
from vllm_loadgen.harness.telemetry import steps_table

pytestmark = pytest.mark.engine


def test_the_steps_tell_every_token_and_a_cap_lets_the_first_go_first(tmp_path, vllm_forks):
    params = RunParams(
        max_new_tokens=ANSWER, min_new_tokens=ANSWER, max_num_seqs=8, max_model_len=1024,
        cpu_kv_cache_gib=1,
    )  # fmt: skip
    path = models.resolve(params.model)
    params = params.changed(dtype=models.resolve_dtype(params.dtype, path))
    waited = {}
    for budget in (2048, 256):
        process = vllm_forks.start(tmp_path / f"{budget}.log", "asked")
        process.pipe.send((params.changed(max_num_batched_tokens=budget), str(path)))
        told, start_ns, rows, facts = process.pipe.recv()
        process.kill()
        steps = steps_table(told, start_ns).to_pandas()
        found = placed(steps, latencies(make_records(rows)))
        assert facts.max_num_batched_tokens == budget
        assert steps["prefill_tokens"].sum() == sum(LENGTHS)
        assert steps["decode_tokens"].sum() == len(LENGTHS) * (ANSWER - 1)
        assert (steps["prefill_tokens"] + steps["decode_tokens"]).max() <= budget
        assert found.timed
        # A last report of an engine that is idle has no tokens and no duration.
        assert (found.steps["duration_ms"] > 0).all()
        waited[budget] = _later_tokens(found)[0].sum()
    # Uncapped the second waits for the three after it, the third for two, the fourth for one.
    assert waited[2048] == 3 * 180 + 2 * 170 + 160
    assert waited[256] < waited[2048] / 2
