import pandas as pd
import pytest
from helpers import LIMITS, SWEEP, draws

from loadgen_study.report.figures import runs


@pytest.mark.parametrize("limits_ms", [LIMITS, {"ttft": 0, "tpot": 0}], ids=["limits", "none"])
def test_sweep_curves(limits_ms):
    assert draws(runs.sweep(SWEEP[:2], limits_ms, 0.9))
    caption = runs.sweep_caption(SWEEP[:2], limits_ms)
    assert "with a target of 0.6 queries/s" in caption
    # The highest rate is not the one with the most queries within the limits.
    assert "goodput: 0.3 queries/s with a target of 0.3" in caption


BESIDE = pd.concat([
    SWEEP[:2],
    SWEEP.iloc[[0]].assign(part="search", offered=0.4, samples_per_s=0.38, goodput_per_s=0.38),
    SWEEP.iloc[[1]].assign(part="search", offered=0.55, samples_per_s=0.46, goodput_per_s=0.3),
    SWEEP.iloc[[0]].assign(part="main test", offered=0.45678, samples_per_s=0.43,
                           goodput_per_s=0.42, tokens_per_s=70.0),
], ignore_index=True)  # fmt: skip


def test_the_search_and_the_main_test_have_marks_of_their_own_in_every_panel():
    for panel in runs.sweep(BESIDE, LIMITS, 0.9).chart["concat"]:
        points = [one for one in panel["layer"] if one["mark"]["type"] == "point"]
        domain = points[0]["encoding"]["color"]["scale"]["domain"]
        assert domain == ["sweep", "search", "main test"]
        assert len({one["mark"]["shape"] for one in points}) == 3
        # No curve joins tests that were made for something else.
        assert len([one for one in panel["layer"] if one["mark"]["type"] == "line"]) == 1


def test_the_best_is_the_best_of_all_tests_in_the_chart():
    caption = runs.sweep_caption(BESIDE, LIMITS)
    assert "tokens/s: 70 with a target of 0.4568 queries/s (main test)" in caption
    assert "goodput: 0.42 queries/s with a target of 0.4568 queries/s (main test)." in caption
    assert "kept the limits" not in caption  # it is the same


def test_a_higher_rate_that_kept_the_limits_is_named_beside_the_best_goodput():
    # Short tests: the main test had a higher target and completed less.
    less = BESIDE.assign(goodput_per_s=[0.3, 0.2, 0.38, 0.3, 0.36])
    caption = runs.sweep_caption(less, LIMITS)
    assert "goodput: 0.38 queries/s with a target of 0.4 queries/s (search)." in caption
    assert "kept the limits: 0.4568 queries/s (main test)." in caption
    # And a rate that breaks them may complete the most within them.
    broken = BESIDE.assign(goodput_per_s=[0.3, 0.2, 0.38, 0.45, 0.42])
    caption = runs.sweep_caption(broken, LIMITS)
    assert (
        "with a target of 0.55 queries/s (search). Highest target that kept the limits: 0.4568"
        in (caption)
    )
    assert "Highest target" not in runs.sweep_caption(broken, {"ttft": 0, "tpot": 0})


def test_one_query_is_said_as_one():
    rates = SWEEP[:2].assign(offered=[1.0, 2.0])
    caption = runs.sweep_caption(rates, LIMITS)
    assert "with a target of 1 query/s" in caption
    assert "1 queries" not in caption


def test_a_limit_is_drawn_against_the_percentile_that_is_judged():
    def label(table, share):
        latency = runs.sweep(table, LIMITS, share).chart["concat"][0]
        points = [one for one in latency["layer"] if one["mark"]["type"] == "point"]
        return points[0]["encoding"]["y"]["title"]

    of_many = SWEEP[SWEEP["queries"] == 700]
    assert label(of_many, 0.9) == "p90 TTFT, ms"
    # Without a judged one the highest that every test has.
    assert label(of_many, None) == "p99 TTFT, ms"
    assert label(SWEEP, 0.99) == "p99 TTFT, ms"
    few = SWEEP.drop(columns=[name for name in SWEEP if name.startswith("ttft_p")])
    assert label(few, 0.9) == "maximum TTFT, ms"


def test_the_region_that_keeps_a_limit_is_shaded():
    latency, speed, goodput = runs.sweep(SWEEP, LIMITS, 0.9).chart["concat"]
    for panel in (latency, speed):
        assert panel["layer"][0]["mark"]["type"] == "rect"
        assert panel["title"]["subtitle"].startswith("Shaded: within the limit")
    assert not any(one["mark"]["type"] == "rect" for one in goodput["layer"])
    unlimited = runs.sweep(SWEEP, {"ttft": 0, "tpot": 0}, 0.9).chart["concat"]
    assert not any(one["mark"]["type"] == "rect" for panel in unlimited for one in panel["layer"])
