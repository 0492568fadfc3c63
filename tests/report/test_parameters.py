import pytest

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.report.parameters import OWN, given_values

OWN_CELL = f"{OWN}: change them\ntarget_qps = 0.5  # rate\nscenario = 'Server'\n"
KNOWN = {"target_qps", "scenario"}


def test_papermills_values_come_over_the_cells():
    injected = "# Parameters\ntarget_qps = 2.0\ntargt = 1\n"
    assert given_values(["", OWN_CELL, injected], KNOWN) == {
        "target_qps": 2.0, "scenario": "Server", "targt": 1,
    }  # fmt: skip


def test_variables_of_other_cells_are_nobodys_parameters():
    cells = [OWN_CELL, "import os\nx = 1", "colour = 'red'", "target_qps = 3"]
    assert given_values(cells, KNOWN) == {"target_qps": 3, "scenario": "Server"}


def test_only_the_latest_run_of_the_cell_counts():
    again = OWN_CELL.replace("0.5", "0.7")
    assert given_values([OWN_CELL, "target_qps = 9", again], KNOWN)["target_qps"] == 0.7


def test_a_missing_or_strange_parameters_cell():
    with pytest.raises(BenchmarkError, match="parameters cell first"):
        given_values(["x = 1"], KNOWN)
    with pytest.raises(BenchmarkError, match="plain"):
        given_values([f"{OWN}\nimport os"], KNOWN)
