"""Tests at a fixed number of queries at once, of known times."""

import math

import numpy as np
import pandas as pd
import pytest

from loadgen_study.analysis.closed_loop import closed_loop
from loadgen_study.analysis.metrics import latencies


def frame_of(at_once, queries, prefill_s=0.5, decode_s=2.0, tokens=21, slower=None, samples=16):
    """Lines of queries that follow one another; all are due at 0 s."""
    free_s, rows = [0.0] * at_once, []
    for number in range(queries):
        place = int(np.argmin(free_s))
        given = free_s[place]
        took = decode_s * (slower(number) if slower else 1)
        free_s[place] = given + prefill_s + took
        first, done = given + prefill_s, free_s[place]
        rows.append((number % samples, 0, 0, given, None, first, done, 100, tokens))
    names = ["sample_index", "scheduled_ns", "issued_ns", "given_ns", "started_ns",
             "first_token_ns", "done_ns", "input_tokens", "output_tokens"]  # fmt: skip
    records = pd.DataFrame(rows, columns=names)
    for name in names[1:7]:
        records[name] = (records[name].astype("Float64") * 1e9).astype("Int64")
    return latencies(records)


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_a_steady_part_has_the_rate_of_its_users(at_once):
    found = closed_loop(frame_of(at_once, 64))
    assert (found.reached, found.passes, found.flat) == (at_once, 4, True)
    assert found.ttft_ms.max == pytest.approx(500)  # not the place in the line
    assert found.tpot_ms.p50 == pytest.approx(100)
    assert found.tokens_per_s == pytest.approx(at_once * 21 / 2.5, rel=0.03)
    assert 0 < found.begin_s < found.end_s


def test_a_pass_that_is_slower_is_not_flat():
    slower = frame_of(1, 64, slower=lambda number: 1.2 if number >= 48 else 1)
    assert closed_loop(slower).flat is False
    assert closed_loop(frame_of(1, 48)).flat is None


def test_more_at_once_than_there_are_queries_is_seen():
    found = closed_loop(frame_of(8, 8))
    assert found.reached == 8
    assert math.isnan(found.tokens_per_s)
    assert found.ttft_ms.queries == 8


def test_records_without_a_sending_have_no_figures():
    frame = frame_of(2, 8)
    frame["given_s"] = math.nan
    assert closed_loop(frame) is None
