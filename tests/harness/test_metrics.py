"""A server's own counters: read, summed, and watched over a test."""

import pytest

from vllm_loadgen.http.metrics import COUNTERS, RESTARTED, STOPPED, ServerWatch, read, total
from vllm_loadgen.records.result import ServerCounts

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{engine="0"} 100.0
vllm:prefix_cache_queries_created{engine="0"} 1.7e9
vllm:prefix_cache_hits_total{engine="0"} 81.0
vllm:prompt_tokens_total{engine="0"} 100.0
vllm:generation_tokens_total{engine="0"} NaN
vllm:iteration_tokens_total_bucket{engine="0",le="1"} 4
vllm:iteration_tokens_total_count{engine="0"} 12
http_requests_total{handler="/v1/completions"} 7
"""
SGLANG = """\
sglang:prompt_tokens_total{model_name="m"} 8.128902e+06
sglang:cached_tokens_total{model_name="m",cache_source="device"} 10
sglang:cached_tokens_total{model_name="m",cache_source="host"} 5
sglang:token_usage{model_name="m"} 0.28
"""


def test_what_vllm_and_sglang_write_is_read_by_the_same_names():
    assert read(VLLM) == {
        "running": 5, "kv_cache_share": 0.5, "prompt_tokens": 100, "cache_queries": 100,
        "cached_tokens": 81, "steps": 12,
    }  # fmt: skip
    assert read(SGLANG) == {"prompt_tokens": 8128902, "cached_tokens": 15, "kv_cache_share": 0.28}
    assert read("<html>no metrics</html>") == read("") == {}
    with pytest.raises(ValueError, match=r"could not convert|Invalid"):
        read("vllm:prompt_tokens_total many")


def test_servers_are_summed_as_far_as_all_have_a_metric():
    both = total([read(VLLM), {"running": 1.0, "kv_cache_share": 0.9}])
    assert both == {"running": 6, "kv_cache_share": 0.9}
    assert total([read(VLLM), {}]) == {}


def watched(*seen):
    """The rows and the counts of a server that shows these metrics, one after another."""
    answers = iter(seen)
    watch = ServerWatch(lambda: next(answers))
    rows = [watch.look() for _ in seen[2:]]
    return rows, watch.counts()


def test_a_test_has_the_difference_of_the_counters():
    first = {"prompt_tokens": 50.0, "cached_tokens": 7.0, "running": 0.0}
    during = {"prompt_tokens": 60.0, "cached_tokens": 7.0, "running": 4.0}
    last = {"prompt_tokens": 90.0, "cached_tokens": 8.0, "running": 0.0}
    rows, counts = watched(first, during, last)
    assert rows == [{"server_prompt_tokens": 10, "server_cached_tokens": 0, "server_running": 4}]
    assert counts == ServerCounts(prompt_tokens=40, cached_tokens=1)
    assert set(COUNTERS) == set(ServerCounts.model_fields) - {"problem"}


def test_counters_that_vanish_or_restart_are_not_known():
    first, more = {"prompt_tokens": 50.0}, {"prompt_tokens": 90.0}
    assert watched({}, {})[1] is None
    assert watched(first, {}, more) == ([{}], ServerCounts(prompt_tokens=40))
    assert watched(first, more, {})[1] == ServerCounts(problem=STOPPED)
    rows, counts = watched(first, more, {"prompt_tokens": 3.0}, more)
    assert rows == [{"server_prompt_tokens": 40}, {}]
    assert counts == ServerCounts(problem=RESTARTED)
