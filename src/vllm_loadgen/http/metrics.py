"""A server's own counters over a test: the Prometheus text of vLLM and of SGLang."""

import math
from collections.abc import Callable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from vllm_loadgen.records.result import ServerCounts

PATH = "/metrics"
# By the project's name, the first that a server has. Sources: vLLM's v1/metrics/loggers.py and
# v1/spec_decode/metrics.py, docs.sglang.io/references/production_metrics.
GAUGES = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs"),
    "kv_cache_share": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc",
                       "sglang:token_usage"),
}  # fmt: skip
COUNTERS = {
    "prompt_tokens": ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total"),
    "output_tokens": ("vllm:generation_tokens_total", "sglang:generation_tokens_total"),
    "cache_queries": ("vllm:prefix_cache_queries_total",),
    "cached_tokens": ("vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total",
                      "sglang:cached_tokens_total"),
    "preemptions": ("vllm:num_preemptions_total",),
    "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
    "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
    "steps": ("vllm:iteration_tokens_total_count",),
}  # fmt: skip
NAMES = GAUGES | COUNTERS
KNOWN = tuple(name for names in NAMES.values() for name in names)
STOPPED = "the metrics stopped answering during the test"
RESTARTED = "the counters restarted during the test"


def read(text: str) -> dict[str, float]:
    """The known metrics by the project's names: sums over engines, the fullest of their KV caches.

    Raises:
        ValueError: if the text is not Prometheus's.
    """
    lines = [line for line in text.splitlines() if line.startswith(KNOWN)]
    values: dict[str, list[float]] = {}
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            if math.isfinite(sample.value):
                values.setdefault(sample.name, []).append(sample.value)
    found = {}
    for name, theirs in NAMES.items():
        if (known := next((one for one in theirs if one in values), None)) is not None:
            found[name] = (max if name == "kv_cache_share" else sum)(values[known])
    return found


def total(servers: list[dict[str, float]]) -> dict[str, float]:
    """The metrics of several servers as those of one; empty if any server has none."""
    if not all(servers):
        return {}
    shared = set.intersection(*map(set, servers))
    return {
        name: (max if name == "kv_cache_share" else sum)(one[name] for one in servers)
        for name in NAMES
        if name in shared
    }


class ServerWatch:
    """Looks at a server's metrics before, during and after a test.

    Args:
        observe: the metrics now, by ``NAMES``; empty if there are none.
    """

    def __init__(self, observe: Callable[[], Mapping[str, float]]) -> None:
        self._observe = observe
        self._first = self._last = observe()
        self._restarted = False

    def look(self) -> dict[str, float]:
        """A row of telemetry: gauges, and counters since the test's start; empty if unknown."""
        now = self._observe() if self._first else {}
        counted = [name for name in COUNTERS if name in now and name in self._last]
        self._restarted |= any(now[name] < self._last[name] for name in counted)
        self._last = {**self._last, **now}
        if not now or self._restarted:
            return {}
        since = {name: now[name] - self._first[name] for name in counted if name in self._first}
        gauges = {name: now[name] for name in GAUGES if name in now}
        return {f"server_{name}": value for name, value in (gauges | since).items()}

    def counts(self) -> ServerCounts | None:
        """The whole test; None for a server without metrics."""
        if not self._first:
            return None
        row = self.look()
        if self._restarted or not row:
            return ServerCounts(problem=RESTARTED if self._restarted else STOPPED)
        known = {name: row.get(f"server_{name}") for name in COUNTERS}
        return ServerCounts.model_validate(known)
