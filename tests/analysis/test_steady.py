"""Where ramp and drain end, by made-up steps of an engine whose answers are known."""

import pandas as pd
import pytest
from helpers import make_records

from loadgen_study.analysis.metrics import latencies
from loadgen_study.analysis.steady import NotSteady, Steady, steady_state

NO_STEPS = pd.DataFrame()


def served(lengths, batch, arrivals_s=None, step_s=lambda now_s: 1.0, ramp=None):
    """An engine that gives each query of its batch a token a step: its steps and its queries.

    Args:
        lengths: tokens of each answer. batch: queries at once.
        arrivals_s: of each query; None: all at 0. step_s: how long a step takes, by its begin.
        ramp: queries that may join in one step; None: any number.
    """
    arrivals_s = arrivals_s or [0.0] * len(lengths)
    waiting, running, now_s = list(range(len(lengths))), {}, 0.0
    started, first, done, steps = {}, {}, {}, []
    while waiting or running:
        here = [i for i in waiting if arrivals_s[i] <= now_s]
        if not here and not running:
            now_s = min(arrivals_s[i] for i in waiting)
            continue
        for i in here[: min(batch - len(running), ramp or batch)]:
            waiting.remove(i)
            running[i], started[i] = lengths[i], now_s
        now_s += step_s(now_s)
        for i in list(running):
            first.setdefault(i, now_s)
            running[i] -= 1
            if not running[i]:
                done[i] = now_s
                del running[i]
        queued = sum(arrivals_s[i] <= now_s for i in waiting)
        steps.append((now_s, len(running), queued))
    rows = [(arrivals_s[i], arrivals_s[i], started[i], first[i], done[i], 10, length)
            for i, length in enumerate(lengths)]  # fmt: skip
    frame = pd.DataFrame(steps, columns=["time_s", "running", "waiting"])
    return frame, latencies(make_records(rows))


def lengths(count):
    """Answers that end at different times: 11 to 29 tokens, 20 on average."""
    return [11 + 7 * i % 19 for i in range(count)]


def test_an_engine_that_tells_no_steps():
    _, frame = served([5] * 8, 4)
    assert steady_state(NO_STEPS, frame, "Offline") == NotSteady("the engine reports no steps")
    steps, _ = served([5] * 8, 4)
    assert isinstance(steady_state(steps, frame.head(0), "Offline"), NotSteady)


def test_one_batch_is_no_steady_state():
    steps, frame = served(lengths(32), 64, ramp=4)
    found = steady_state(steps, frame, "Offline")
    assert isinstance(found, NotSteady)
    assert "0 of 32 were answered, not as many as it holds" in found.reason


def test_a_test_that_only_drains_has_no_steady_state():
    steps, frame = served(lengths(32), 32)
    assert steps["running"].is_monotonic_decreasing
    assert isinstance(steady_state(steps, frame, "Offline"), NotSteady)


def test_a_long_plateau_has_the_engines_rate_and_the_costs_of_its_ends():
    # 8 at once, a step of 1 s: 8 tokens/s and 1000 ms a token, whatever comes before and after.
    steps, frame = served(lengths(400), 8, ramp=1)
    found = steady_state(steps, frame, "Offline")
    assert isinstance(found, Steady)
    assert found.begin_s == pytest.approx(8, abs=1)
    assert found.batch == pytest.approx(8, rel=0.02)
    assert found.tokens_per_s == pytest.approx(8, rel=0.03)
    assert found.tpot_ms == pytest.approx(1000)
    tokens, end_s = frame["output_tokens"].sum(), frame["done_s"].max()
    assert tokens / end_s < found.tokens_per_s
    # Without ramp and drain the test would have lasted tokens / rate.
    cost_s = found.ramp_cost_s + found.drain_cost_s
    assert cost_s == pytest.approx(end_s - tokens / found.tokens_per_s, abs=1e-6)
    # The batch fills by one a step: 1 + 2 + ... of 8 tokens in the first 8 s.
    assert found.ramp_cost_s == pytest.approx(8 - 36 / 8, abs=1.5)
    assert found.drain_cost_s > 5
    assert found.shift is None
    assert found.windows == 20


@pytest.mark.parametrize(("slow_s", "fast_s", "at_s"), [(1.25, 1.0, 400.0), (1.0, 1.25, 500.0)])
def test_a_shift_is_found_where_it_is(slow_s, fast_s, at_s):
    steps, frame = served(lengths(400), 8, step_s=lambda now: slow_s if now < at_s else fast_s)
    found = steady_state(steps, frame, "Offline")
    assert found.shift is not None
    assert found.shift.at_s == pytest.approx(at_s, abs=60)
    assert found.shift.before == pytest.approx(8 / slow_s, rel=0.05)
    assert found.shift.after == pytest.approx(8 / fast_s, rel=0.05)


def test_a_shift_that_is_small_or_cannot_be_told_from_chance_is_none():
    steps, frame = served(lengths(400), 8, step_s=lambda now: 1.02 if now < 400 else 1.0)
    assert steady_state(steps, frame, "Offline").shift is None
    # A slow stretch now and then is noise and no change for good.
    steps, frame = served(lengths(400), 8, step_s=lambda now: 1.3 if now % 200 < 60 else 1.0)
    assert steady_state(steps, frame, "Offline").shift is None
    # Three batches are too few windows to look for one.
    steps, frame = served(lengths(32), 8, step_s=lambda now: 2.0 if now < 40 else 1.0)
    found = steady_state(steps, frame, "Offline")
    assert (found.shift, found.windows) == (None, 0)


def test_a_serial_engine_is_steady_with_a_batch_of_one():
    steps, frame = served([10] * 20, 1)
    found = steady_state(steps, frame, "Offline")
    assert found.tokens_per_s == pytest.approx(1, rel=0.02)
    assert found.tpot_ms == pytest.approx(1000)
    assert found.batch == pytest.approx(1)
    assert found.queries >= 18


def test_a_server_test_ends_with_its_last_arrival_and_looks_for_no_shift():
    # A query each 4 s with 20 tokens of 1 s each: 5 in the batch, 5 tokens/s.
    arrivals_s = [4.0 * i for i in range(200)]
    steps, frame = served([20] * 200, 64, arrivals_s)
    found = steady_state(steps, frame, "Server")
    assert found.begin_s == pytest.approx(17, abs=5)
    assert found.end_s == pytest.approx(arrivals_s[-1], abs=2)
    assert found.tokens_per_s == pytest.approx(5, rel=0.02)
    assert found.batch == pytest.approx(5, rel=0.02)
    assert (found.shift, found.windows) == (None, 0)


def test_queries_without_an_answer_are_passed_over():
    steps, frame = served(lengths(100), 8)
    frame.loc[frame["done_s"].nlargest(3).index, "done_s"] = None
    assert steady_state(steps, frame, "Offline").tokens_per_s == pytest.approx(8, rel=0.05)
