"""What each query adds to a step: an imitated engine takes 20 ms, and 0.5 ms a token."""

from dataclasses import replace

import pandas as pd
import pytest
from stepped import frames

from loadgen_study.analysis.anatomy import placed
from loadgen_study.analysis.step_time import LEAST_STEPS, step_time

# Ten queries of 40 and 61 tokens at a time, four seconds apart.
GROUPS = [(4.0 * group + 0.1 * at, 40, 61) for group in range(8) for at in range(10)]


def line_of(asked, **limits):
    steps, frame = frames(asked, **limits)
    return step_time(placed(steps, frame))


def test_the_line_is_that_of_the_engine():
    line = line_of(GROUPS)
    assert line.fixed_ms == pytest.approx(20)
    assert line.decode_ms == pytest.approx(0.5)
    assert line.tokens == 60
    # A prompt takes 20 ms for each of the ten that are decoded meanwhile: spread over 60 tokens.
    assert line.prefill_ms == pytest.approx(20 / 60)


def test_a_limit_is_kept_by_so_many_and_not_by_one_more():
    line = line_of(GROUPS)
    most = line.most(25.0, 0.9)
    assert line.tpot_ms(most, 0.9) <= 25.0 < line.tpot_ms(most + 1, 0.9)
    assert line.most(line.tpot_ms(1, 0.9) - 0.01, 0.9) < 1


def test_what_lies_between_steps_is_in_the_answers():
    usual, late = (line_of(GROUPS, gap_s=gap_s).tpot_ms(8) for gap_s in (0.0, 0.010))
    assert late == pytest.approx(usual + 10, rel=0.03)


def test_waiting_for_a_place():
    line = line_of(GROUPS)
    token_s = line.tpot_ms(2) / 1e3
    queries = pd.DataFrame({"issued_s": [0.0, 0.0, 0.0, 100.0], "output_tokens": [10, 20, 5, 5]})
    assert line.waits_ms(queries, 2) == pytest.approx([0, 0, 10 * token_s * 1e3, 0])
    assert line.waits_ms(queries, 3).tolist() == [0, 0, 0, 0]
    assert line.served_per_s(2) == pytest.approx(2 / (60 * token_s))


def test_no_line_without_enough_steps_or_where_more_queries_cost_nothing():
    steps, frame = frames(GROUPS)
    found = placed(steps, frame)
    alone = found.steps["prefill_tokens"] == 0
    few = found.steps.assign(prefill_tokens=(~alone | (alone.cumsum() >= LEAST_STEPS)).astype(int))
    for changed in (few, steps.assign(duration_ms=20.0), steps.assign(decode_tokens=4)):
        assert step_time(replace(found, steps=changed)) is None
    assert step_time(found) is not None
