"""Two replicas of a small model on one CPU, a core each."""

import pytest
from helpers import Leftovers

from loadgen_study import LiveRun, RunParams
from loadgen_study.report.sections import machine

pytestmark = pytest.mark.engine


def test_two_replicas_share_the_queries(tmp_path, small_model):
    params = RunParams(
        model=str(small_model),
        num_samples=4, max_new_tokens=12, min_new_tokens=12, scenario="Offline", target_qps=1.0,
        min_duration_ms=1, min_query_count=12, warmup_queries=2, warmup_max_s=0.0,
        cpu_kv_cache_gib=1, data_parallel_size=2, outputs=str(tmp_path), run_name="two",
    )  # fmt: skip
    left = Leftovers()
    with LiveRun.start(params) as run:
        test = run.perform("performance")
        pid = run.session().pid
    left.check(pid)
    assert test.result.num_errors == 0
    loads = test.replicas
    assert loads["queries"].sum() == test.result.queries
    assert loads["queries"].min() > 0
    assert loads["output_tokens"].sum() == 12 * test.result.queries
    assert loads["input_tokens"].sum() == test.latencies["input_tokens"].sum()
    # The batch is that of both: each step counts what the other engine had then.
    alone = test.replica_steps["running"]
    assert (test.steps["running"] >= alone).all()
    assert len(test.steps) == len(alone)
    assert len(machine.replicas_table(test)) == 2
    read = run.read()
    assert read.devices == 1  # of one CPU
    assert read.engine.options["data_parallel_size"] == 2
