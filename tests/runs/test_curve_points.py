"""Points of other curves, from a CSV."""

import pytest

from loadgen_study import Run
from loadgen_study.report import parameters
from loadgen_study.runs.curve_points import COLUMNS, read_points
from vllm_loadgen.errors import ParameterError

HEAD = ",".join(COLUMNS)
ROW = "smollm2-135m-instruct,embedded,120.5,20,350,a paper"


def saved(tmp_path, text):
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_rows_are_points(tmp_path):
    name = saved(tmp_path, f"\ufeff{HEAD},note\n{ROW},old\n{ROW.replace('a paper', 'MLPerf')},\n")
    one, other = read_points(name)
    assert (one.tokens_per_s_per_device, one.tpot_p90_ms, one.ttft_p90_ms) == (120.5, 20, 350)
    assert (one.source, one.at_once, one.is_mlperf) == ("a paper", None, False)
    assert other.is_mlperf


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no column model"),
        (HEAD.replace(",data", "") + "\n", "has no column data"),
        (HEAD + "\n", "has no rows"),
        (
            f"{HEAD}\n{ROW}\n{ROW.replace(',20,', ',nan,')}\n",
            "row 2, column tpot_p90_ms: 'nan' is",
        ),
        (f"{HEAD}\n{ROW.replace('350', '-1')}\n", "row 1, column ttft_p90_ms: '-1' is not a"),
        (f"{HEAD}\n{ROW.replace('120.5', 'inf')}\n", "column tokens_per_s_per_device: 'inf' is"),
        (f"{HEAD}\n{ROW.replace('120.5', '')}\n", "column tokens_per_s_per_device: '' is not"),
        (f"{HEAD}\n{ROW.replace('a paper', ' ')}\n", "row 1, column source: is empty"),
        (f"{HEAD}\nsmollm2,embedded\n", "row 1, column source: is empty"),
        (f'{HEAD}\n"open\n', "is not CSV in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error(tmp_path, text, problem):
    with pytest.raises(ParameterError, match="Give a CSV with the columns") as caught:
        read_points(saved(tmp_path, text))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParameterError, match="is not CSV in UTF-8"):
        read_points(str(path))
    with pytest.raises(ParameterError, match="cannot be read"):
        read_points(str(tmp_path / "no.csv"))


def test_the_notebooks_runs_are_split_into_runs_and_files(monkeypatch, tmp_path):
    name = saved(tmp_path, f"{HEAD}\n{ROW}\n")
    cell = f"run = 'outputs/example'\nruns = [{name!r}]\n"
    monkeypatch.setattr(parameters, "_executed_cells", lambda: [cell])
    assert parameters.runs_to_compare(Run.open("outputs/example")) == []
    assert [point.source for point in parameters.curves_to_compare()] == ["a paper"]
