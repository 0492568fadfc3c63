import math

import pytest
from helpers import THREE, make_records

from vllm_loadgen.analysis.load import load_of, load_over_time
from vllm_loadgen.analysis.metrics import (
    latencies,
    metrics,
    metrics_table,
    percentile,
    projection,
)


def test_latencies_by_hand():
    frame = latencies(make_records(THREE))
    assert frame["ttft_ms"].tolist() == pytest.approx([100, 300, 400])
    assert frame["latency_ms"].tolist() == pytest.approx([1100, 2300, 400])
    assert frame["tpot_ms"].tolist()[:2] == pytest.approx([100, 100])
    assert math.isnan(frame["tpot_ms"][2])  # one token has no time per further token
    assert frame["schedule_delay_ms"].tolist() == pytest.approx([1, 1, 1])
    assert frame["queue_ms"].tolist() == pytest.approx([1, 100, 100])
    assert frame["prefill_ms"].tolist() == pytest.approx([98, 199, 299])


def test_metrics_by_hand():
    records = make_records(THREE)
    offline = metrics(latencies(records), "SingleStream")
    assert offline.duration_s == pytest.approx(3.3)
    assert offline.samples_per_s == pytest.approx(3 / 3.3)
    assert offline.tokens_per_s == pytest.approx(33 / 3.3)
    # Server: two samples after the first, until the last issued one is done at 2.4 s.
    server = metrics(latencies(records), "Server")
    assert server.samples_per_s == pytest.approx(2 / 2.4)
    assert server.tokens_per_s == pytest.approx(33 / 2.4)
    assert server.ttft_ms.mean == pytest.approx(800 / 3)


def test_percentiles_are_loadgens():
    values = list(range(100))
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


def test_queries_without_an_answer_count_as_samples_only():
    unfinished = (3.0, 3.001, None, None, None, 50, 0)
    found = metrics(latencies(make_records([*THREE, unfinished])), "SingleStream")
    assert (found.samples, found.completed) == (4, 3)
    assert found.output_tokens.total == 33


def test_projections_by_hand():
    found = projection(0.34, 13_368)
    assert found.samples_per_hour == pytest.approx(1224)
    assert found.samples_per_day == pytest.approx(29376)
    assert found.full_dataset_hours == pytest.approx(10.92, abs=0.01)


def test_an_interrupted_run_without_any_query_has_figures_of_none():
    nothing = make_records(THREE).iloc[:0]
    assert metrics(latencies(nothing), "Server").completed == 0
    assert load_of(latencies(nothing)).peak_in_flight == 0
    assert load_over_time(latencies(nothing))["arrived"].sum() == 0
    assert "n/a" in metrics_table(metrics(latencies(nothing), "Server")).to_string()
