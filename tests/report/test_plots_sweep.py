import math

import pandas as pd
import pytest
from helpers import draws

from vllm_loadgen.report import plots_sweep

SWEEP = pd.DataFrame(
    {
        "kind": ["rate", "rate", "concurrency"],
        "offered": [0.3, 0.6, 4],
        "samples_per_s": [0.3, 0.5, 0.6],
        "tokens_per_s": [30.0, 50.0, 60.0],
        "user_tokens_per_s": [30.0, 15.0, 18.0],
        "queries": [64, 64, 700],
        "ttft_max_ms": [500.0, 3000.0, 9900.0],
        "ttft_p90_ms": [400.0, 2500.0, 8000.0],
        "ttft_p90_upper_ms": [450.0, 2900.0, 8500.0],
        "ttft_p99_ms": [math.nan, math.nan, 9000.0],
        "ttft_p99_upper_ms": [math.nan, math.nan, 9500.0],
        "goodput_per_s": [0.3, 0.2, 0.6],
    }
)
LIMITS = {"ttft": 2000.0, "tpot": 100.0}


@pytest.mark.parametrize("limits_ms", [LIMITS, {"ttft": 0, "tpot": 0}], ids=["limits", "none"])
@pytest.mark.parametrize("kind", ["rate", "concurrency", "both"])
def test_sweep_curves(kind, limits_ms):
    table = SWEEP if kind == "both" else SWEEP[SWEEP["kind"] == kind]
    assert draws(plots_sweep.sweep_curves(table, limits_ms))
    caption = plots_sweep.sweep_caption(table, limits_ms)
    fastest = "0.6 queries/s offered" if kind == "rate" else "4 queries at once"
    assert f"came with {fastest}" in caption
    # The highest rate is not the one with the most queries within the limits.
    assert ("0.3 queries/s within the limits, with 0.3" in caption) == (kind != "concurrency")


def test_a_percentile_is_drawn_where_every_test_has_it():
    def label(table):
        return plots_sweep.sweep_curves(table, LIMITS).axes[0].get_ylabel()

    assert label(SWEEP) == "p90 TTFT, and its bound, ms"
    assert label(SWEEP[SWEEP["queries"] == 700]) == "p99 TTFT, and its bound, ms"
    few = SWEEP.drop(columns=[name for name in SWEEP if name.startswith("ttft_p")])
    assert label(few) == "maximum TTFT, ms"
    caption = plots_sweep.sweep_caption(SWEEP[SWEEP["kind"] == "rate"], LIMITS)
    said = "a p90 of 2,500 ms (at most 2,900 ms) (p99 needs 662 queries, this test has 64)"
    assert said in caption
    assert "a maximum of 3,000 ms" in plots_sweep.sweep_caption(few[few["kind"] == "rate"], LIMITS)
