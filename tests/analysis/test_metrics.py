import math

import pytest
from helpers import make_records

from vllm_loadgen.analysis import metrics as analysis

# scheduled, issued, started, first token, done (s); input and output tokens
THREE = [
    (0.0, 0.001, 0.002, 0.100, 1.100, 50, 11),
    (1.0, 1.001, 1.101, 1.300, 3.300, 60, 21),
    (2.0, 2.001, 2.101, 2.400, 2.400, 70, 1),
]


def test_latencies_by_hand():
    frame = analysis.latencies(make_records(THREE))
    assert frame["ttft_ms"].tolist() == pytest.approx([100, 300, 400])
    assert frame["latency_ms"].tolist() == pytest.approx([1100, 2300, 400])
    assert frame["tpot_ms"].tolist()[:2] == pytest.approx([100, 100])
    assert math.isnan(frame["tpot_ms"][2])  # one token has no time per further token
    assert frame["schedule_delay_ms"].tolist() == pytest.approx([1, 1, 1])
    assert frame["queue_ms"].tolist() == pytest.approx([1, 100, 100])
    assert frame["prefill_ms"].tolist() == pytest.approx([98, 199, 299])


def test_metrics_by_hand():
    records = make_records(THREE)
    offline = analysis.metrics(records, "SingleStream")
    assert offline["duration_s"] == pytest.approx(3.3)
    assert offline["samples_per_s"] == pytest.approx(3 / 3.3)
    assert offline["tokens_per_s"] == pytest.approx(33 / 3.3)
    # Server: two samples after the first, until the last issued one is done at 2.4 s.
    server = analysis.metrics(records, "Server")
    assert server["samples_per_s"] == pytest.approx(2 / 2.4)
    assert server["tokens_per_s"] == pytest.approx(33 / 2.4)
    assert server["ttft_ms"]["mean"] == pytest.approx(800 / 3)


def test_percentiles_are_loadgens():
    values = list(range(100))
    assert analysis.percentile(values, 0.5) == 50
    assert analysis.percentile(values, 0.99) == 99
    assert analysis.percentile([7.0], 0.99) == 7
    assert math.isnan(analysis.percentile([], 0.5))


def test_queries_without_an_answer_count_as_samples_only():
    unfinished = (3.0, 3.001, None, None, None, 50, 0)
    metrics = analysis.metrics(make_records([*THREE, unfinished]), "SingleStream")
    assert (metrics["samples"], metrics["completed"]) == (4, 3)
    assert metrics["output_tokens"]["total"] == 33


def test_load_over_time_by_hand():
    load = analysis.load_over_time(make_records(THREE), points=34)  # every 0.1 s
    at = load.set_index(load["time_s"].round(1))
    assert at.loc[0.5, ["arrived", "completed", "waiting", "in_flight"]].tolist()[0:3] == [1, 0, 0]
    assert at.loc[2.2, "in_flight"] == 2
    assert at.loc[3.3, "in_flight"] == 0


@pytest.mark.parametrize(
    ("violations", "share", "queries"),
    [(0, 0.99, 459), (1, 0.99, 662), (10, 0.99, 2010), (100, 0.99, 12571), (0, 0.9, 44)],
)
def test_early_stopping_is_loadgens(violations, share, queries):
    assert analysis.early_stopping_queries(violations, share) == queries
    assert analysis.violations_allowed(queries, share) == violations
    assert analysis.violations_allowed(queries - 1, share) == violations - 1


def test_projections_by_hand():
    found = analysis.projections(0.34)
    assert found["samples_per_hour"] == pytest.approx(1224)
    assert found["samples_per_day"] == pytest.approx(29376)
    assert found["full_dataset_hours"] == pytest.approx(10.92, abs=0.01)


def test_arrivals_vs_service_by_hand():
    found = analysis.arrivals_vs_service(make_records(THREE))
    assert found["arrivals_per_s"] == pytest.approx(1)  # two after the first, in 2 s
    assert found["completions_per_s"] == pytest.approx(0.5)  # one by 2 s
    # Never idle from 0 to 3.3 s: the second came before the first was done.
    assert found["served_per_s"] == pytest.approx(3 / 3.3)
    assert (found["peak_in_flight"], found["peak_served"]) == (2, 2)
    # In the engine 1.098 + 2.199 + 0.299 s, of 3.3 s.
    assert found["mean_served"] == pytest.approx(3.596 / 3.3)


def test_a_brief_overlap_is_seen():
    # 1 ms of a 1,000 s test, which no grid of instants would hit.
    rows = [(0, 0, 0, 1, 500.001, 9, 5), (0, 0, 500, 501, 1000, 9, 5)]
    assert analysis.arrivals_vs_service(make_records(rows))["peak_served"] == 2


def test_back_to_back_service_is_one_at_a_time():
    rows = [(0, 0, i, i + 0.5, i + 1, 9, 5) for i in range(10)]
    found = analysis.arrivals_vs_service(make_records(rows))
    assert found["peak_served"] == 1
    assert found["serial_share"] == pytest.approx(0.9)  # the last has none behind it
    assert found["arrivals_per_s"] == math.inf


def test_latencies_rise_above_capacity_and_unanswered_queries_count():
    # Due every 1 s, served every 2 s: a rise of (2 - 1) * 10 s between thirds of 10 queries.
    rows = [(i, i, 2 * i, 2 * i + 1, 2 * i + 2, 9, 5) for i in range(30)]
    records = make_records(rows)
    assert analysis.arrivals_vs_service(records)["latency_rise_s"] == pytest.approx(10)
    assert analysis.arrivals_vs_service(records)["queue_rise_s"] == pytest.approx(10)
    # Cut at 40 s: those without an answer have waited until then, 10 to 19 s.
    records.loc[20:, ["started_ns", "first_token_ns", "done_ns"]] = None
    cut = analysis.arrivals_vs_service(records)
    assert cut["latency_rise_s"] == pytest.approx((40 - 24.5) - (14.5 + 2))


def test_an_interrupted_run_without_any_query_has_figures_of_none():
    nothing = make_records(THREE).iloc[:0]
    assert analysis.metrics(nothing, "Server")["completed"] == 0
    assert analysis.arrivals_vs_service(nothing)["peak_in_flight"] == 0
    assert analysis.load_over_time(nothing)["arrived"].sum() == 0
    assert "n/a" in analysis.metrics_table(analysis.metrics(nothing, "Server")).to_string()


@pytest.mark.parametrize(
    ("value_ms", "said"),
    [(0.1234, "0.123 ms"), (21.96, "22 ms"), (735.3, "735 ms"), (50_240, "50.2 s")],
)
def test_times_are_said_with_few_digits(value_ms, said):
    assert analysis.say_ms(value_ms) == said
