"""The real engine, sampling: a query's seed decides its answer."""

from pathlib import Path

import pytest

from loadgen_study.accuracy.log import ACCURACY_LOG, read_accuracy_log
from loadgen_study.params import RunParams
from vllm_loadgen.harness.session import Session

pytestmark = pytest.mark.engine
PROMPTS = [list(range(100 + i, 116 + i)) for i in range(3)]
# One after another: the batch, which rounds, is the same each time.
PARAMS = RunParams(
    scenario="SingleStream", dtype="float32", max_new_tokens=8, warmup_queries=1, max_model_len=256,
    cpu_kv_cache_gib=1, target_latency_ms=1000.0, temperature=1.0, top_k=50,
    max_num_batched_tokens=256,
)  # fmt: skip
# More than fit into a step: vLLM would compute some prompts in parts.
LONG = [list(range(100 + i, 250 + i)) for i in range(4)]


def test_a_sampled_test_can_be_repeated_and_its_repeats_differ(
    small_model: Path, tmp_path: Path
) -> None:
    found = []
    with Session(PARAMS, small_model, tmp_path / "engine.log") as session:
        for name in ("one", "again"):
            session.run(PARAMS, PROMPTS * 2, "accuracy", tmp_path / name)
            log = read_accuracy_log(tmp_path / name / ACCURACY_LOG)
            found.append({answer.qsl_idx: list(answer.tokens) for answer in log})
        at_once = PARAMS.changed(scenario="Offline", target_qps=10.0)
        session.run(at_once, LONG, "accuracy", tmp_path / "long")
    assert len(read_accuracy_log(tmp_path / "long" / ACCURACY_LOG)) == len(LONG)
    one, again = found
    assert one == again
    assert all(one[at] != one[at + len(PROMPTS)] for at in range(len(PROMPTS)))
