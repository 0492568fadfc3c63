import pandas as pd
import pytest

from loadgen_study.analysis.knee import Knee, NoKnee, knee


def sweep(*points, **more):
    return pd.DataFrame(points, columns=["offered", "tokens_per_s"]).assign(**more)


def test_the_knee_is_where_the_curve_bends_and_enough_is_where_it_gains_no_more():
    assert knee(sweep((1, 10), (2, 20), (3, 29), (4, 30), (5, 30.2))) == Knee(3.0, 3.0)
    # It bends at 2, and gains until 4.
    assert knee(sweep((1, 10), (2, 20), (3, 24), (4, 27), (5, 28))) == Knee(2.0, 4.0)
    assert knee(sweep((1, 10), (2, 20), (3, 24), (4, 26), (5, 29))) == Knee(2.0, None)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (sweep((1, 10), (2, 20), (3, 20)), "needs 4 points, and there are 3"),
        (sweep((1, 10), (2, 20), (3, 30), (4, 40)), "grew with the load to the end"),
        (sweep((1, 10), (2, 9), (3, 9), (4, 8)), "no more tokens/s"),
        # Bent, but less than the intervals are wide.
        (sweep((1, 10), (2, 20), (3, 24), (4, 26), tokens_per_s_low=0.0, tokens_per_s_high=40.0),
         "as far as noise"),
    ],
)  # fmt: skip
def test_why_no_knee_is_named(table, words):
    found = knee(table)
    assert isinstance(found, NoKnee)
    assert words in found.reason
