import pytest
from conftest import make_records

from vllm_loadgen import diagnosis

SETTINGS = {"ttft_latency": 2_000_000_000, "tpot_latency": 100_000_000,
            "target_latency_percentile": 0.99, "min_duration_ms": 120_000,
            "min_query_count": 100}  # fmt: skip
RESULT = {"scenario": "Server", "status": "complete", "verdict": "INVALID", "num_errors": 0,
          "duration_s": 60.0, "effective_settings": SETTINGS, "loadgen_results": {}}  # fmt: skip


def seed_records(told=True, queries=20):
    """The seed's run: one query at a time, 0.5 a second offered, 0.34 a second served."""
    rows, free_s = [], 0.0
    for i in range(queries):
        due = i / 0.5
        begin = max(due, free_s)
        free_s = begin + 1 / 0.34
        rows.append((due, due, begin if told else None, begin + 0.13, free_s, 778, 129))
    return make_records(rows)


@pytest.mark.parametrize("told", [True, False], ids=["engine tells", "engine does not tell"])
def test_the_seeds_run_is_queueing_and_serial(told):
    found = {f.title: f for f in diagnosis.findings(seed_records(told), RESULT, {})}
    overload = found["Overloaded: arrivals exceed capacity"]
    assert "0.5 queries/s arrived, 0.34 were served" in overload.evidence
    assert "most of the TTFT is queueing" in overload.evidence
    assert "Batch" in found["One query in flight: the engine serves serially"].action
    words = " ".join(f.title + f.evidence + f.action for f in found.values()).lower()
    assert "model loading" not in words


def test_a_batching_engine_at_the_same_rate_is_not_overloaded():
    rows = [(i / 0.5, i / 0.5, i / 0.5, i / 0.5 + 0.2, i / 0.5 + 4, 778, 129) for i in range(40)]
    titles = [f.title for f in diagnosis.findings(make_records(rows), RESULT, {})]
    assert "Overloaded: arrivals exceed capacity" not in titles
    assert "One query in flight: the engine serves serially" not in titles
    assert "The first token is mostly prefill" in titles


def test_too_few_queries_says_how_many_more():
    rows = [(i, i, i, i + 0.2, i + 1, 50, 20) for i in range(100)]
    (found,) = [f for f in diagnosis.findings(make_records(rows), RESULT, {})
                if f.title == "Too few queries for early stopping"]  # fmt: skip
    assert "asks for 459" in found.evidence
    assert "359 more" in found.action


def test_a_late_harness_is_named():
    rows = [(i, i + 0.05, i + 0.05, i + 0.2, i + 1, 50, 20) for i in range(50)]
    titles = [f.title for f in diagnosis.findings(make_records(rows), RESULT, {})]
    assert "The harness itself was late" in titles


def test_logged_errors_and_single_tokens_are_named():
    rows = [(i, i, i, i + 0.2, i + 0.2, 50, 1) for i in range(50)]
    result = {**RESULT, "num_errors": 2, "error_lines": ["a: b"]}
    found = {f.title: f for f in diagnosis.findings(make_records(rows), result, {})}
    assert found["LoadGen logged errors"].severity == "problem"
    assert "50 of 50" in found["Answers of a single token"].evidence


def test_what_would_make_valid():
    short = {**RESULT, "loadgen_results": {"min_duration_met": False, "min_queries_met": False}}
    steps = diagnosis.what_would_make_valid(short, seed_records())
    assert steps[0] == "Let it last 120 s: it lasted 60 s."
    assert steps[1] == "Issue at least 100 queries."
    assert any("Overloaded" in step for step in steps)
    assert diagnosis.what_would_make_valid({**RESULT, "verdict": "VALID"}, seed_records()) == []


def test_offline_has_no_arrivals_to_exceed_anything():
    rows = [(0, 0, i * 0.1, i * 0.1 + 0.2, i * 0.1 + 4, 50, 20) for i in range(40)]
    result = {**RESULT, "scenario": "Offline"}
    titles = [f.title for f in diagnosis.findings(make_records(rows), result, {})]
    assert "Overloaded: arrivals exceed capacity" not in titles
    assert "Too few queries for early stopping" not in titles
