"""The preview of an MLPerf Endpoints submission."""

import math

import pandas as pd
import pytest

from loadgen_study.rules import endpoints
from loadgen_study.rules.rule import Rule


def curve_of(at_once, steady_s=1300.0, flat=True, passes=4):
    """A frame of tests at fixed concurrency that all last equally long."""
    return pd.DataFrame(
        {"offered": at_once, "steady_s": steady_s, "flat": flat, "passes": passes},
        index=[f"{number}-at-once" for number in at_once],
    )


def lacks(tests, rules=(), scored=True):
    return endpoints.preview(tests, rules, "model and data", scored)["lacks"]


@pytest.mark.parametrize(
    ("c_min", "c_max", "ends"),
    [(32, 8192, (52, 437)), (1, 256, (7, 41)), (16, 1024, (26, 117))],
    ids=["A", "B", "C"],
)
def test_the_regions_are_those_of_the_rules_examples(c_min, c_max, ends):
    """Example C as the rules' algorithm and their Appendix B have it; its text says 116."""
    found = endpoints.regions(c_min, c_max)
    assert (found["Low"][1], found["Medium"][1]) == ends
    assert found["Ultra Low"] == (1, 32)
    assert found["Low"][0] == c_min + 1
    assert found["High"] == (ends[1] + 1, c_max)


def test_a_curve_that_lacks_no_point_lacks_accuracy_and_the_client():
    found = lacks(curve_of([1, 4, 16, 32, 64, 128, 256]))
    assert found[found != endpoints.NOTHING].index.tolist() == ["accuracy", "client"]


def test_a_short_curve_is_told_each_thing_that_it_lacks():
    short = curve_of([1, 2, 4, 48], steady_s=700.0, flat=[True, None, False, True], passes=2)
    rules = [Rule("samples", "Samples", "13,368", "16", met=False, part="task")]
    found = lacks(short, rules)
    assert found["points"] == "3 more"
    assert found["regions"] == "a point in Medium (6 to 14), 2 further points above 1"
    assert found["steady part"] == "time at 48 at once"
    assert found["steady window"] == "flat TPOT at 2, 4 at once"
    assert found["model and data"] == "samples"


@pytest.mark.parametrize(
    ("at_once", "missing"),
    [
        ([1, 2, 4], "a point above 32 at once"),
        ([64, 128], "a point at 1 to 32 at once"),
        ([1, 256, 255], "a point in Low (2 to 7), a point in Medium (8 to 41)"),
    ],
)
def test_the_regions_that_hold_no_point_are_named(at_once, missing):
    assert lacks(curve_of(at_once))["regions"].startswith(missing)


def test_a_test_without_a_steady_part_is_short():
    assert lacks(curve_of([1, 64], steady_s=math.nan))["steady part"] == "time at 1, 64 at once"


def test_more_points_than_are_taken():
    assert lacks(curve_of(list(range(1, 40))))["points"] == "7 points too many"
