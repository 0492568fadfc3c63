import pytest
from helpers import make_records, seed_records
from limits import outcome

from loadgen_study.analysis.early_stopping import tightest_ms
from loadgen_study.analysis.metrics import latencies

# TTFT 1 to 1000 ms, TPOT 1 to 1000 ms the other way round.
THOUSAND = latencies(make_records(
    [(i, i, i, i + (i + 1) / 1e3, i + (i + 1) / 1e3 + (1000 - i) / 1e3, 9, 2) for i in range(1000)]
))  # fmt: skip


def test_a_query_at_its_limit_is_within_it():
    found = outcome(THOUSAND, 900, 950, 0.9)
    assert (found.over_ttft, found.over_tpot) == (100, 50)
    assert (found.within_ttft, found.within_tpot) == (0.9, 0.95)
    assert found.within_both == pytest.approx(0.85)
    assert found.allowed == 78  # 100 would be p90 itself; early stopping wants to be sure
    assert not found.kept


def test_the_tightest_limits_are_kept_and_none_below_them():
    held = tightest_ms(THOUSAND, 0.9)
    assert held == pytest.approx({"ttft": 922, "tpot": 922})
    assert outcome(THOUSAND, held["ttft"], held["tpot"], 0.9).kept
    assert not outcome(THOUSAND, held["ttft"] - 0.5, held["tpot"], 0.9).kept
    assert not outcome(THOUSAND, held["ttft"], held["tpot"] - 0.5, 0.9).kept


def test_no_limit_helps_too_few_queries():
    few = latencies(seed_records())
    assert tightest_ms(few, 0.99) is None
    assert not outcome(few, 1e9, 1e9, 0.99).kept


def test_an_unanswered_query_keeps_no_limit_and_is_over_none():
    half = latencies(make_records([(0, 0, 0, 0.1, 1.0, 9, 5), (1, 1, None, None, None, 9, 0)]))
    found = outcome(half, 200, 300, 0.5)
    assert (found.within_both, found.over_ttft, found.over_tpot) == (0.5, 0, 0)
