import pytest
from helpers import RESULT, ROOT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.report import text_extra
from loadgen_study.runs.predictions import predictions


def predictions_text(run):
    return text_extra.predictions_text(predictions(run))


def measured(folder, rate, latency_s, queries=400):
    """A test at a steady rate in which every query takes the same time."""
    rows = [(i / rate, i / rate, i / rate, i / rate + 0.1, i / rate + latency_s, 9, 20)
            for i in range(queries)]  # fmt: skip
    write_test(folder, RESULT, make_records(rows))


@pytest.fixture
def folder(tmp_path):
    path = write_facts(tmp_path / "run", RunParams())
    for rate in (0.4, 0.8, 1.6):
        measured(path / f"sweep/{rate:g}-qps", rate, 4 / (1 - rate / 2))
    return path


def test_a_sweep_ends_with_what_it_foretells(folder):
    said = predictions_text(Run.open(folder))
    assert "4,000 ms for a query alone, and no end of it at 2 queries/s" in said
    assert "At 1.2 queries/s, which was not measured, a query would take 10.0 s" in said


def test_the_main_test_shows_how_far_it_was_off(folder):
    measured(folder / "performance", 1.2, 11.0)
    said = predictions_text(Run.open(folder))
    foretold = "the others, at other rates, foretold 10.0 s; it took 11.0 s, so they were off"
    assert f"{foretold} by 9%" in said


def test_two_rates_foretell_nothing(tmp_path):
    folder = write_facts(tmp_path / "run", RunParams())
    for rate in (0.4, 0.8):
        measured(folder / f"sweep/{rate:g}-qps", rate, 4.0)
    assert predictions_text(Run.open(folder)) == ""


def test_a_real_search_and_sweep():
    said = predictions_text(Run.open(ROOT / "outputs/example-explore"))
    assert "queries/s, which was not measured" in said
