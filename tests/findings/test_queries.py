import pandas as pd
import pytest
from helpers import RESULT, SETTINGS, THREE, imitated, imitated_run, make_records, seed_records

from loadgen_study.analysis.early_stopping import early_stopping_queries
from loadgen_study.findings.collect import find, given_by
from loadgen_study.findings.finding import Finding, doubts
from loadgen_study.findings.validity import what_would_make_valid
from loadgen_study.params import RunParams
from vllm_loadgen.harness.loadgen import server_schedule_ns
from vllm_loadgen.records.engine import EngineFacts


def query_findings(test, **facts):
    return find(given_by(imitated_run(test, **facts)))


@pytest.mark.parametrize("told", [True, False], ids=["engine tells", "engine does not tell"])
def test_the_seeds_run_is_queueing_and_serial(told):
    found = {f.title: f for f in query_findings(imitated(seed_records(told)))}
    overload = found["Overloaded: arrivals exceed capacity"]
    assert "0.5 queries/s arrived, 0.34 were served" in overload.evidence
    assert "most of the TTFT is queueing" in overload.evidence
    assert "batches" in found["No batching: one query at a time"].action
    words = " ".join(f.title + f.evidence + f.action for f in found.values()).lower()
    assert "model loading" not in words


def test_a_batching_engine_at_the_same_rate_is_not_overloaded():
    rows = [(i / 0.5, i / 0.5, i / 0.5, i / 0.5 + 0.2, i / 0.5 + 4, 778, 129) for i in range(40)]
    titles = [f.title for f in query_findings(imitated(make_records(rows)))]
    assert "Overloaded: arrivals exceed capacity" not in titles
    assert "No batching: one query at a time" not in titles
    assert "TTFT: mostly prefill" in titles


def test_too_few_queries_says_how_many_more():
    rows = [(i, i, i, i + 0.2, i + 1, 50, 20) for i in range(100)]
    (found,) = [f for f in query_findings(imitated(make_records(rows)))
                if f.title == "Too few queries for early stopping"]  # fmt: skip
    assert "requires 459" in found.evidence
    assert "359 more" in found.action


def test_a_late_harness_is_named():
    rows = [(i, i + 0.05, i + 0.05, i + 0.2, i + 1, 50, 20) for i in range(50)]
    titles = [f.title for f in query_findings(imitated(make_records(rows)))]
    assert "Queries issued late" in titles


def test_a_rate_that_was_not_offered_is_named_as_the_harness_own():
    """So late that the schedule is not believed: the records have the queries due when issued."""
    seed, asked = 16159082839903944936, RunParams(target_qps=1000.0)
    due_s = server_schedule_ns(seed, 1000.0, 200) / 1e9
    result = {**RESULT, "effective_settings": {**SETTINGS, "schedule_rng_seed": seed}}

    def named(slower):
        rows = [(s, s, s, s + 0.2, s + 1, 50, 20) for s in due_s * slower]
        findings = query_findings(imitated(make_records(rows), result, asked))
        return {f.title: f for f in findings}.get("Target rate not offered")

    assert named(1.0) is None
    assert named(1.04) is None
    assert "target 1,000 queries/s, issued" in named(10.0).evidence


def queueing(scenario, **steps):
    """The action where TTFT is queueing in an engine of 8 places."""
    rows = [(i, i, i + 2, i + 2.1, i + 3, 50, 20) for i in range(20)]
    engine = EngineFacts(engine="vllm", max_num_seqs=8)
    usual = {"time_s": 1.0, "running": 8, "waiting": 3, "preempted": 0, "kv_cache_share": 0.1}
    table = pd.DataFrame([usual | steps])
    result = RESULT | {"scenario": scenario}
    test = imitated(make_records(rows), result, engine_steps=table)
    (found,) = [f for f in query_findings(test, engine=engine) if f.title.startswith("TTFT: most")]
    return found.action


def test_an_action_on_queueing_is_one_that_can_help():
    assert queueing("Server") == "Lower target_qps, or raise max_num_seqs."
    assert queueing("Server", running=7) == "Lower target_qps."
    assert queueing("Server", kv_cache_share=0.9) == "Lower target_qps."
    assert queueing("SingleStream") == ""


def test_a_lower_rate_is_not_advised_where_the_fastest_query_exceeds_the_limit():
    rows = [(9 * i, 9 * i, 9 * i, 9 * i + 3, 9 * i + 4, 50, 20) for i in range(64)]
    (found,) = [f for f in query_findings(imitated(make_records(rows)))
                if f.title == "TTFT exceeds its limit"]  # fmt: skip
    assert found.action.startswith("Raise ttft_limit_ms")
    assert "3,000 ms, so a lower rate does not help" in found.action


def test_logged_errors_and_single_tokens_are_named():
    rows = [(i, i, i, i + 0.2, i + 0.2, 50, 1) for i in range(50)]
    result = {**RESULT, "num_errors": 2, "error_lines": ["a: b"]}
    found = {f.title: f for f in query_findings(imitated(make_records(rows), result))}
    assert found["Errors in LoadGen's log"].severity == "problem"
    assert "50 of 50" in found["Answers of a single token"].evidence


def test_what_would_make_valid():
    short = {**RESULT, "loadgen_results": {"min_duration_met": False, "min_queries_met": False}}
    steps = list(what_would_make_valid(imitated(seed_records(), short)).values())
    # LoadGen judges a Server test by when its last query was due: the 20th, at 19 / 0.5 s.
    assert "must last 120 s and lasted 38.0 s, 82.0 s too short" in steps[0]
    assert steps[1] == "Issue 80 more queries: 100 are required."
    assert "Lower target_qps below the 0.34 queries/s that were served" in steps[2]
    assert "requires 459 even with none over" in steps[3]
    assert what_would_make_valid(imitated(seed_records(), {**RESULT, "verdict": "VALID"})) == {}


def test_offline_has_no_arrivals_to_exceed_anything():
    rows = [(0, 0, i * 0.1, i * 0.1 + 0.2, i * 0.1 + 4, 50, 20) for i in range(40)]
    result = {**RESULT, "scenario": "Offline"}
    titles = [f.title for f in query_findings(imitated(make_records(rows), result))]
    assert "Overloaded: arrivals exceed capacity" not in titles
    assert "Too few queries for early stopping" not in titles


def test_the_seeds_50_seconds():
    """105 queries: 20 samples, of which LoadGen issues whole rounds, at 0.5 a second."""
    found = {f.title: f for f in query_findings(imitated(seed_records(queries=105)))}
    # Query i is due at 2 i and begun at i / 0.34: a wait of 0.941 i, 48.9 s on average.
    assert "queueing: 48.9 s of 49.1 s" in found["Overloaded: arrivals exceed capacity"].evidence
    assert "130 ms of prefill" in found["Overloaded: arrivals exceed capacity"].evidence
    assert "TTFT: mostly queueing" in found
    # The last is due at 208 s; by then 208 * 0.34 = 70.7 are served, 70 of them in full.
    load = imitated(seed_records(queries=105)).load
    assert load.completions_per_s == pytest.approx(70 / 208)
    assert load.peak_served == 1


def test_a_short_burst_is_not_an_overload():
    # Each takes 1.5 s whatever its neighbours do, so all of them pile up within 2 s.
    rows = [(i / 10, i / 10, i / 10, i / 10 + 0.1, i / 10 + 1.5, 50, 20) for i in range(20)]
    titles = [f.title for f in query_findings(imitated(make_records(rows)))]
    assert "Overloaded: arrivals exceed capacity" not in titles


def test_an_overload_without_a_queue_shows_in_the_latencies():
    # No query waits, but each shares the engine with all before it: 0.5 s more for each.
    rows = [(i, i, i, i + 0.1, i + 1 + i / 2, 50, 20) for i in range(60)]
    (found,) = [f for f in query_findings(imitated(make_records(rows)))
                if f.title == "Overloaded: arrivals exceed capacity"]  # fmt: skip
    assert "queueing" not in found.evidence


def test_answers_of_one_token_are_no_sign_of_serial_service():
    rows = [(i / 20, i / 20, None, i / 20 + 1, i / 20 + 1, 50, 1) for i in range(20)]
    titles = [f.title for f in query_findings(imitated(make_records(rows)))]
    assert "No batching: one query at a time" not in titles


def test_a_percentile_of_nothing_keeps_no_limit():
    nothing = make_records([(0, 0, None, None, None, 50, 0)])
    titles = [f.title for f in query_findings(imitated(nothing))]
    assert titles == ["Test not finished", "Too few queries for early stopping"]
    assert [f.title for f in query_findings(imitated(nothing.iloc[:0]))] == ["No query issued"]


def test_the_limit_is_judged_at_the_percentile_in_force():
    # TTFT of query i is i ms, so query 90 is at the limit and not over it; LoadGen takes the
    # value at floor(100 * 0.95).
    rows = [(10 * i, 10 * i, 10 * i, 10 * i + i / 1e3, 10 * i + 1, 50, 20) for i in range(100)]
    settings = {**SETTINGS, "target_latency_percentile": 0.95, "ttft_latency": 90_000_000}
    result = {**RESULT, "effective_settings": settings}
    (found,) = [f for f in query_findings(imitated(make_records(rows), result))
                if f.title == "TTFT exceeds its limit"]  # fmt: skip
    assert found.evidence == (
        "9 of 100 queries are over the limit of 90 ms; p95 needs 130 queries, this test has 100"
    )
    rows = rows + [(i, i, i, i + 0.05, i + 1, 50, 20) for i in range(100, 130)]
    (found,) = [f for f in query_findings(imitated(make_records(rows), result))
                if f.title == "TTFT exceeds its limit"]  # fmt: skip
    assert found.evidence.endswith("p95 is 93 ms, 3 ms over it (at most 98 ms)")


def test_more_queries_are_not_advised_against_a_limit_that_most_exceed():
    steps = " ".join(what_would_make_valid(imitated(seed_records(queries=105))).values())
    assert "459" in steps
    assert "after the rate is low enough" in steps
    assert "12,6" not in steps


def test_a_few_violations_ask_for_more_queries():
    # 5 of 500 are over: within p99, but LoadGen asks for more queries to be sure of it.
    rows = [(3 * i, 3 * i, 3 * i, 3 * i + (2.5 if i < 5 else 0.2), 3 * i + 2.9, 50, 100)
            for i in range(500)]  # fmt: skip
    needed = early_stopping_queries(5, 0.99)
    (found,) = [f for f in query_findings(imitated(make_records(rows)))
                if f.title == "Too few queries for early stopping"]  # fmt: skip
    assert f"requires {needed:,} with 5 over" in found.evidence
    assert f"({needed - 500:,} more)" in found.action


def test_single_stream_needs_64_queries_at_its_percentile():
    rows = [(i, i, i, i + 0.2, i + 1, 50, 20) for i in range(60)]
    settings = {"target_latency_percentile": 0.9}
    result = {**RESULT, "scenario": "SingleStream", "effective_settings": settings}
    (found,) = [f for f in query_findings(imitated(make_records(rows), result))
                if f.title == "Too few queries for early stopping"]  # fmt: skip
    assert "requires 64" in found.evidence


def test_a_tail_is_named_with_its_cause():
    waits = [5 if i % 50 == 9 else 0 for i in range(700)]
    rows = [(10 * i, 10 * i, 10 * i + wait, 10 * i + wait + 0.2, 10 * i + 7, 50, 20)
            for i, wait in enumerate(waits)]  # fmt: skip
    (found,) = [f for f in query_findings(imitated(make_records(rows)))
                if f.title == "TTFT: long tail"]  # fmt: skip
    assert found.evidence == (
        "p99 5,200 ms (at most 5,200 ms), 26.0 times p50 200 ms (at most 200 ms); theirs is mostly "
        "queueing"
    )


def test_of_few_queries_the_tail_is_a_tenth_or_nothing():
    def titles(queries, slow):
        rows = [(10 * i, 10 * i, 10 * i, 10 * i + (5 if i < slow else 0.2), 10 * i + 7, 50, 20)
                for i in range(queries)]  # fmt: skip
        return {f.title for f in query_findings(imitated(make_records(rows)))}

    assert "TTFT: long tail" in titles(100, 11)
    assert "TTFT: long tail" not in titles(100, 5)  # what would be its p99
    assert "TTFT: long tail" not in titles(60, 10)  # and p90 of too few


def test_an_impossible_figure_is_a_problem():
    rows = [(i, i, i, i + 0.2, i + 1, 50, 20) for i in range(50)]
    found = query_findings(imitated(make_records(rows)), impossible=["Too fast."])
    assert found[0].title == "Impossible: faster than the machine's limits"


def test_a_test_is_doubted_for_its_problems_alone():
    note = Finding("note", "N", "", "", doubts=True)
    problem = Finding("problem", "P", "", "", doubts=True)
    result = Finding("problem", "TTFT exceeds its limit", "", "")
    assert doubts([note, problem, result]) == ["P"]


def test_refused_queries_are_told_of_an_invalid_run_too():
    refused = {"queries": 3, "refused": 2, "refused_because": ["EngineError: it went away"]}
    test = imitated(make_records(THREE), RESULT | refused)
    (found,) = [one for one in query_findings(test) if "refused" in one.title]
    assert found.evidence == "2 of 3 queries; its first reasons: EngineError: it went away"
    others = query_findings(imitated(make_records(THREE)))
    assert not [one for one in others if "refused" in one.title]


def test_reasons_that_only_one_server_knows_are_quoted():
    rows = [(i, i, i, i + 0.2, i + 1, 50, 20) for i in range(4)]
    result = {**RESULT, "finish_reasons": {"length": 3, "eos_token": 1}}
    (found,) = [f for f in query_findings(imitated(make_records(rows), result))
                if f.id == "answer-ends"]  # fmt: skip
    assert found.title == "Answers at the cap of 128 tokens: 0 %"
    assert "1 ended with 'eos_token'" in found.evidence
    assert "'length'" not in found.evidence
