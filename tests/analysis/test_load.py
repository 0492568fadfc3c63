import math

import pytest
from helpers import THREE, make_records

from loadgen_study.analysis.load import load_of, load_over_time, mean_served
from loadgen_study.analysis.metrics import latencies


def test_load_over_time_by_hand():
    found = load_over_time(latencies(make_records(THREE)), points=34)  # every 0.1 s
    at = found.set_index(found["time_s"].round(1))
    assert at.loc[0.5, ["arrived", "completed", "waiting", "in_flight"]].tolist()[0:3] == [1, 0, 0]
    assert at.loc[2.2, "in_flight"] == 2
    assert at.loc[3.3, "in_flight"] == 0


def test_arrivals_vs_service_by_hand():
    found = load_of(latencies(make_records(THREE)))
    assert found.arrivals_per_s == pytest.approx(1)  # two after the first, in 2 s
    assert found.completions_per_s == pytest.approx(0.5)  # one by 2 s
    # Never idle from 0 to 3.3 s: the second came before the first was done.
    assert found.served_per_s == pytest.approx(3 / 3.3)
    assert (found.peak_in_flight, found.peak_served) == (2, 2)
    # In the engine 1.098 + 2.199 + 0.299 s, of 3.3 s.
    assert found.mean_served == pytest.approx(3.596 / 3.3)


def test_the_mean_batch_of_a_part_leaves_out_idle_time_like_that_of_the_whole():
    # One query a second for 0.5 s, two at once in the last: nothing is there half of the time.
    rows = [(i, i, i, i + 0.1, i + 0.5, 9, 5) for i in (0, 1, 2, 3, 3)]
    frame = latencies(make_records(rows))
    assert load_of(frame).mean_served == pytest.approx(1.25)
    assert mean_served(frame) == pytest.approx(1.25)
    assert mean_served(frame, 0, 2.7) == pytest.approx(1)
    assert mean_served(frame, 2.25, 9) == pytest.approx((0.25 + 1) / 0.75)
    assert mean_served(frame, 0.6, 0.9) == 0


def test_a_brief_overlap_is_seen():
    # 1 ms of a 1,000 s test, which no grid of instants would hit.
    rows = [(0, 0, 0, 1, 500.001, 9, 5), (0, 0, 500, 501, 1000, 9, 5)]
    assert load_of(latencies(make_records(rows))).peak_served == 2


def test_back_to_back_service_is_one_at_a_time():
    rows = [(0, 0, i, i + 0.5, i + 1, 9, 5) for i in range(10)]
    found = load_of(latencies(make_records(rows)))
    assert found.peak_served == 1
    assert found.serial_share == pytest.approx(0.9)  # the last has none behind it
    assert found.arrivals_per_s == math.inf


def test_latencies_rise_above_capacity_and_unanswered_queries_count():
    # Due every 1 s, served every 2 s: a rise of (2 - 1) * 10 s between thirds of 10 queries.
    rows = [(i, i, 2 * i, 2 * i + 1, 2 * i + 2, 9, 5) for i in range(30)]
    records = make_records(rows)
    assert load_of(latencies(records)).latency_rise_s == pytest.approx(10)
    assert load_of(latencies(records)).queue_rise_s == pytest.approx(10)
    # Cut at 40 s: those without an answer have waited until then, 10 to 19 s.
    records.loc[20:, ["started_ns", "first_token_ns", "done_ns"]] = None
    cut = load_of(latencies(records))
    assert cut.latency_rise_s == pytest.approx((40 - 24.5) - (14.5 + 2))
