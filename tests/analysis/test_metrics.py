import math

import pytest
from helpers import THREE, make_records

from loadgen_study.analysis.load import load_of, load_over_time
from loadgen_study.analysis.metrics import (
    latencies,
    latencies_table,
    metrics,
    rates_table,
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


def test_queries_without_an_answer_count_as_samples_only():
    unfinished = (3.0, 3.001, None, None, None, 50, 0)
    found = metrics(latencies(make_records([*THREE, unfinished])), "SingleStream")
    assert (found.samples, found.completed) == (4, 3)
    assert found.output_tokens.total == 33


def test_a_refused_query_is_not_an_answer():
    refused = (3.0, 3.001, None, None, 9.0, 50, 0)
    found = metrics(latencies(make_records([*THREE, refused])), "SingleStream")
    assert (found.samples, found.completed) == (4, 3)
    # The time to the last answer, not to the refusal.
    assert found.duration_s == pytest.approx(3.3)
    assert found.samples_per_s == pytest.approx(3 / 3.3)
    assert found.latency_ms.queries == 3


def test_an_interrupted_run_without_any_query_has_figures_of_none():
    nothing = make_records(THREE).iloc[:0]
    assert metrics(latencies(nothing), "Server").completed == 0
    assert load_of(latencies(nothing)).peak_in_flight == 0
    assert load_over_time(latencies(nothing))["arrived"].sum() == 0
    assert "n/a" in latencies_table(metrics(latencies(nothing), "Server")).to_string()


def served(queries):
    """A Server test: a query a second, issued at 0.99 of that rate, TTFT growing by 1 ms."""
    return [(i, i / 0.99, i / 0.99, i + 1 + i / 1e3, i + 2, 9, 5) for i in range(queries)]


def test_a_percentile_has_its_bound_or_says_what_it_needs():
    table = latencies_table(metrics(latencies(make_records(served(64))), "Server"))
    ttft = table.loc["Time to first token (TTFT), ms"]
    # One of 64 may lie above the bound of p90.
    assert ttft["p90"] == "1,057 (1,062)"
    assert ttft["max"] == "1,063"
    # None of 64 is called the p99.
    assert list(table) == ["mean", "p50", "p90", "max"]
    assert list(latencies_table(metrics(latencies(make_records(served(63))), "Server"))) == [
        "mean", "p50", "max",
    ]  # fmt: skip


def test_a_percentile_that_one_latency_has_says_what_another_needs():
    rows = [(i, i, i, i + 1, i + 2, 9, 5 if i < 60 else 1) for i in range(64)]
    table = latencies_table(metrics(latencies(make_records(rows)), "Server"))
    assert table.loc["Time per output token (TPOT), ms", "p90"] == "needs 64 queries"


def test_a_server_test_has_goodput_and_the_load_that_it_was_given():
    found = metrics(latencies(make_records(served(101))), "Server", kept=0.5)
    rates = rates_table(found)["value"]
    assert rates["Goodput, queries/s"] == "0.49"
    assert (rates["Offered, queries/s"], rates["Issued, queries/s"]) == ("1", "0.99")
    assert latencies_table(found).loc["Issued after it was due, ms", "max"] == "1,010"
    unlimited = rates_table(metrics(latencies(make_records(served(101))), "Server"))["value"]
    assert unlimited["Goodput, queries/s"] == "no limits"
    offline = metrics(latencies(make_records(served(101))), "Offline")
    assert len(rates_table(offline)) == 2
    assert "Issued after it was due, ms" not in latencies_table(offline).index


def test_a_schedule_that_nobody_knows_is_not_said_to_be_kept():
    rows = [(i, i, i, i + 1, i + 2, 9, 5) for i in range(20)]  # due when issued
    found = metrics(latencies(make_records(rows)), "Server")
    rates = rates_table(found)["value"]
    assert (rates["Offered, queries/s"], rates["Issued, queries/s"]) == ("schedule unknown", "1")
    assert latencies_table(found).loc["Issued after it was due, ms", "max"] == "n/a"
