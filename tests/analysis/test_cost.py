import math

import numpy as np
import pandas as pd
import pytest

from loadgen_study.analysis.cost import energy_of, price_of, steady_energy_of, watts_of


def test_the_price_of_tokens_and_of_a_run():
    # 3.60 an hour is a tenth of a hundredth a second: a million tokens at 1000/s take 1000 s.
    found = price_of(3.6, tokens_per_s=1000.0, samples_per_s=10.0, samples=13_368)
    assert found.per_million_tokens == pytest.approx(1.0)
    assert found.per_run == pytest.approx(1.3368)


def test_no_price_and_no_answers():
    assert price_of(None, 1000.0, 10.0, 13_368) is None
    nothing = price_of(3.6, 0.0, 0.0, 13_368)
    assert (nothing.per_million_tokens, nothing.per_run) == (math.inf, math.inf)


def test_counters_win_over_power_that_was_read():
    telemetry = pd.DataFrame(
        {"time_s": [1.0, 2.0, 3.0], "cpu_energy_j": [500.0, 540.0, 580.0],
         "gpu_energy_j": [1e9, 1e9 + 310, 1e9 + 600], "gpu_power_w": [1.0, 1.0, 1.0]}
    )  # fmt: skip
    found = energy_of(telemetry, tokens_per_s=17.0)
    assert found.watts == {"CPU packages": 40.0, "GPUs": 300.0}
    assert found.joules_per_token == pytest.approx(20.0)


def test_without_a_counter_the_mean_power_stands_for_it():
    telemetry = pd.DataFrame({"time_s": [1.0, 2.0], "gpu_power_w": [200.0, 400.0]})
    assert energy_of(telemetry, 100.0).watts == {"GPUs": 300.0}


@pytest.mark.parametrize(
    "telemetry",
    [
        pd.DataFrame(),
        pd.DataFrame({"time_s": [1.0, 2.0], "cpu_share": [0.5, 0.5]}),
        pd.DataFrame({"time_s": [1.0], "cpu_energy_j": [5.0]}),
        pd.DataFrame({"time_s": [1.0, 2.0], "gpu_power_w": [math.nan, math.nan]}),
    ],
)
def test_what_was_not_measured_is_not_there(telemetry):
    assert energy_of(telemetry, 100.0) is None


def test_a_test_without_tokens():
    telemetry = pd.DataFrame({"time_s": [1.0, 2.0], "gpu_power_w": [200.0, 400.0]})
    assert energy_of(telemetry, 0.0).joules_per_token == math.inf


def test_the_whole_machine_contains_the_others():
    telemetry = pd.DataFrame({"time_s": [1.0, 2.0], "gpu_power_w": [200.0, 400.0],
                              "machine_power_w": [500.0, math.nan]})  # fmt: skip
    assert watts_of(telemetry) == {"whole machine": 500.0}
    assert watts_of(telemetry.assign(machine_power_w=math.nan)) == {"GPUs": 300.0}


# Two queries: 100 tokens in and 11 out, the first of them before the span; 50 in and 21 out.
QUERIES = pd.DataFrame({"first_token_s": [1.0, 3.0], "done_s": [11.0, 7.0],
                        "input_tokens": [100, 50], "output_tokens": [11, 21]})  # fmt: skip
SPAN_S = (2.0, 8.0)


@pytest.fixture
def telemetry():
    """100 W before and after the span, 300 W within it."""
    time_s = np.arange(0.0, 11.0)
    return pd.DataFrame({"time_s": time_s, "gpu_power_w": np.where(
        (time_s >= 2) & (time_s <= 8), 300.0, 100.0)})  # fmt: skip


def test_the_energy_of_each_token_in_the_steady_state(telemetry):
    found = steady_energy_of(telemetry, QUERIES, SPAN_S, {"GPUs": 100.0})
    total_j, given, made = 300.0 * 6, 50, 6 + 21  # the first makes a token a second
    assert found.watts == {"GPUs": 300.0}
    assert found.per_input == pytest.approx(total_j / given)
    assert found.per_output == pytest.approx(total_j / made)
    assert found.per_token == pytest.approx(total_j / (given + made))
    assert found.idle_w == 100.0
    assert found.above_idle == pytest.approx((300.0 - 100.0) * 6 / (given + made))


def test_idle_power_of_other_sources_is_not_known(telemetry):
    found = steady_energy_of(telemetry, QUERIES, SPAN_S, {"CPU packages": 40.0})
    assert math.isnan(found.idle_w)
    assert math.isnan(found.above_idle)
    assert steady_energy_of(telemetry, QUERIES, (20.0, 30.0), {}) is None
    assert steady_energy_of(pd.DataFrame(), QUERIES, SPAN_S, {}) is None
