import io

import pytest
from helpers import RESULT, imitated, make_records, seed_records

from loadgen_study.report.figures.overview import overview

pytestmark = pytest.mark.slow

MANY = make_records([(i * 0.01, i * 0.01, None, i * 0.01 + 0.1, i * 0.01 + 1, 9, 5)
                     for i in range(3000)])  # fmt: skip
ONE = make_records([(0, 0, 0, 0.1, 0.1, 9, 1)])
UNFINISHED = make_records([(0, 0, 0, 0.1, 1.0, 9, 5), (1, 1, None, None, None, 9, 0)])
# As an echo engine gives them: apart by less than a histogram can divide.
ALIKE = make_records([(i, i, i, i + 0.2, i + 2 + i * 1e-9, 9, 91) for i in range(15)])


def drawn(records, title="title", **result):
    figure = overview(imitated(records, {**RESULT, **result}), title)
    figure.set_layout_engine("none")  # where things go takes most of the time
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


@pytest.mark.parametrize("records", [seed_records(started=False), MANY, ONE, UNFINISHED, ALIKE],
                         ids=["seed", "many", "one", "unfinished", "alike"])  # fmt: skip
@pytest.mark.parametrize("scenario", ["Server", "Offline"])
def test_every_kind_of_run_is_drawn(records, scenario):
    drawn(records, scenario=scenario)


def test_the_timeline_parts_add_up_to_the_latency():
    axis = drawn(make_records([(0.0, 0.0, 0.5, 1.0, 3.0, 9, 5)]))[4]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0.5, 0.5, 2.0])


def test_a_title_that_is_no_formula_is_drawn():
    drawn(seed_records(), "a$b_{$ \\frac{")
