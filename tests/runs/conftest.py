"""A short run that the tests of searches, sweeps and tunings share."""

import pytest
from helpers import echo_params, write_articles

from loadgen_study import RunParams
from loadgen_study.runs import search


@pytest.fixture
def params(tmp_path) -> RunParams:
    """Sixteen articles on an echo engine that serves two at once, 20 ms each."""
    dataset = write_articles(tmp_path / "a.jsonl", 16)
    options = {"ttft_ms": 20.0, "tpot_ms": 0.01, "slots": 2}
    return echo_params(
        dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r", engine_options=options,
        max_new_tokens=4, min_duration_ms=400, min_query_count=48, target_latency_percentile=0.9,
        ttft_limit_ms=200, warmup_queries=0,
    )  # fmt: skip


@pytest.fixture
def coarse(monkeypatch):
    """A search that knows its peak within 30 % in place of 5: all kinds of tests, fewer of each."""
    monkeypatch.setattr(search, "PRECISION", 1.3)
