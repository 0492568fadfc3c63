import pandas as pd
import pytest
from helpers import LIMITS, SWEEP, draws

from vllm_loadgen.report import plots_sweep


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


def test_goodput_has_axes_of_its_own_and_labels_keep_apart():
    near = pd.concat([SWEEP, SWEEP.iloc[[1]].assign(offered=0.61, goodput_per_s=0.2)])
    figure = plots_sweep.sweep_curves(near, LIMITS)
    assert len({axis.get_position().bounds for axis in figure.axes}) == len(figure.axes) == 3
    latency, _, goodput = figure.axes
    assert goodput.get_ylabel() == "queries/s"
    # Two tests that completed alike stand on one another: one of them is labelled.
    assert sorted(text.get_text() for text in latency.texts) == ["0.3", "0.6"]


def test_one_query_is_said_as_one():
    rates = SWEEP[SWEEP["kind"] == "rate"].assign(offered=[1.0, 2.0])
    caption = plots_sweep.sweep_caption(rates, LIMITS)
    assert "with 1 query/s offered" in caption
    assert "1 queries" not in caption


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
