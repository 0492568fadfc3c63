import numpy as np
import pandas as pd
import pytest

from loadgen_study.analysis.batching import StepCosts, simulated, step_costs

# Decode steps of 20 ms and 2 ms a query, prefills of 300 ms a prompt.
COSTS = StepCosts(np.array([1, 2, 4, 8]), np.array([0.022, 0.024, 0.028, 0.036]), 0.3)


def test_what_steps_cost_is_read_from_them():
    rows, now = [(0.0, 0, 0, 0)], 0.0
    for batch, decode_s in zip(COSTS.batches, COSTS.decode_s, strict=True):
        now += COSTS.prefill_s
        rows.append((now, 400, 0, 1))
        now += decode_s
        rows.append((now, 0, batch, 0))
    names = ["time_s", "prefill_tokens", "decode_tokens", "first_tokens"]
    steps = pd.DataFrame(rows, columns=names)
    found = step_costs(steps)
    assert found.batches.tolist() == COSTS.batches.tolist()
    assert found.decode_s == pytest.approx(COSTS.decode_s)
    assert found.prefill_s == pytest.approx(0.3)
    assert step_costs(steps[steps["decode_tokens"] < 4]) is None
    assert step_costs(steps[["time_s"]]) is None
    several = pd.concat([steps.assign(replica=0), steps.assign(replica=1)])
    assert step_costs(several) is None


def test_queries_that_never_meet_have_the_costs_of_one():
    found = simulated(np.array([0.0, 100.0]), np.array([11, 1]), COSTS)
    # An idle engine's step of one is charged from the first batch that was seen.
    assert found["ttft_s"].tolist() == pytest.approx([0.322, 0.322])
    assert found["tpot_s"][0] == pytest.approx(0.022)
    assert np.isnan(found["tpot_s"][1])


def test_a_prompt_that_arrives_slows_the_tokens_of_others():
    found = simulated(np.array([0.0, 0.33]), np.array([11, 11]), COSTS)
    # One step of both has the second prompt's 300 ms.
    assert found["tpot_s"][0] > 0.022 + 0.3 / 10 - 0.003
    assert found["tpot_s"][1] < 0.025


def test_an_overload_makes_first_tokens_late_and_later():
    due_s = np.arange(50) / 20
    found = simulated(due_s, np.full(50, 20), COSTS)
    assert found["ttft_s"].iloc[-1] > found["ttft_s"].iloc[10] > 0.6
