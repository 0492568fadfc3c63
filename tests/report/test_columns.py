import pandas as pd
import pytest
from helpers import SWEEP

from loadgen_study.report.display import column_title, table


@pytest.mark.parametrize(
    ("name", "said"),
    [("samples_per_s", "completed, queries/s"), ("ttft_p90_ms", "TTFT p90, ms"),
     ("tpot_p99_upper_ms", "TPOT p99 bound, ms"), ("Metric", "Metric"), (3, 3)],
)  # fmt: skip
def test_a_column_has_a_readers_name(name, said):
    assert column_title(name) == said


def test_a_sweeps_table_has_names_units_and_digits_for_a_reader():
    shown = table(SWEEP.assign(samples_per_s=[0.814587, 1.1, 1234.56])).data
    assert "_per_s" not in shown
    assert "_ms" not in shown
    assert ">0.815<" in shown
    assert ">1.1<" in shown
    assert ">1,235<" in shown


def test_small_and_whole_numbers_stay_what_they_are():
    shown = table(pd.DataFrame({"x": [0.00012, 2.0, 99999.0], "n": [7, 20679, 1]})).data
    for said in ("0.00012", ">2<", "99,999", ">7<", ">20,679<"):
        assert said in shown


def test_shares_are_percent():
    shown = table(pd.DataFrame({"limit_share": [0.314, float("nan")]})).data
    assert ">31.4 %<" in shown
    assert "nan" not in shown


def test_numbers_are_to_the_right_and_truth_values_are_ticks():
    bounds, words = ["551 (916)", "n/a"], ["12 of 64", ">= 36.4"]
    shown = table(pd.DataFrame({"met": [True, False], "ms": bounds, "what": words})).data
    assert shown.count("text-align: right") == 3
    assert ">✓<" in shown
    assert ">✗<" in shown
