import nbformat
import papermill.cli
import pytest
from helpers import ROOT

from loadgen_study import Run
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.params import RunParams
from loadgen_study.report import parameters as report_parameters
from loadgen_study.report.parameters import (
    _names,
    given_values,
    parameters_table,
    run_to_read,
    runs_to_compare,
)
from vllm_loadgen.errors import BenchmarkError, ParameterError

OWN_CELL = "target_qps: float = 0.5  # rate\nscenario: str = 'Server'\n"
KNOWN = {"target_qps", "scenario"}


def test_papermills_values_come_over_the_cells():
    injected = "# Parameters\ntarget_qps = 2.0\ntargt = 1\n"
    assert given_values(["", OWN_CELL, injected], KNOWN) == {
        "target_qps": 2.0, "scenario": "Server", "targt": 1,
    }  # fmt: skip


def test_what_papermill_injects_may_set_all_that_the_cell_sets():
    injected = "target_qps = 2.0\nscenario = 'Offline'\nseed = 1\n"
    again = [OWN_CELL, injected, "import os", OWN_CELL, injected]
    expected = {"target_qps": 2.0, "scenario": "Offline", "seed": 1}
    assert given_values([OWN_CELL, injected], KNOWN) == given_values(again, KNOWN) == expected


def test_variables_of_other_cells_are_nobodys_parameters():
    cells = [OWN_CELL, "import os\nx = 1", "colour = 'red'", "target_qps = 3"]
    assert given_values(cells, KNOWN) == {"target_qps": 3, "scenario": "Server"}


def test_only_the_latest_run_of_the_cell_counts():
    again = OWN_CELL.replace("0.5", "0.7")
    assert given_values([OWN_CELL, "import os", "target_qps = 9", again], KNOWN) == {
        "target_qps": 0.7, "scenario": "Server",
    }  # fmt: skip


def test_a_misspelt_name_in_the_cell_run_again_stays_to_be_refused():
    again = OWN_CELL + "targt_qps = 1\n"
    assert given_values([OWN_CELL, "import os", again], KNOWN)["targt_qps"] == 1


@pytest.mark.parametrize("comment", ["# Parameters of this notebook\n", "", "# anything\n"])
def test_the_cell_is_found_by_its_shape(comment):
    assert given_values([comment + OWN_CELL], KNOWN)["target_qps"] == 0.5


@pytest.mark.parametrize("text", ["inf", "nan"])
def test_values_without_a_literal_are_not_lost(text):
    injected = f"# Parameters\ntarget_qps = float('{text}')\nscenario = 'Offline'\n"
    found = given_values([OWN_CELL, injected], KNOWN)
    assert str(found["target_qps"]) == text
    assert found["scenario"] == "Offline"


def test_a_missing_or_strange_parameters_cell():
    with pytest.raises(BenchmarkError, match="parameters cell first"):
        given_values(["x = 1"], KNOWN)
    with pytest.raises(BenchmarkError, match="target_qps must be a plain value"):
        given_values(["target_qps = len('ab')"], KNOWN)


def test_all_parameters_are_shown_and_those_changed_are_marked():
    table = parameters_table(RunParams(target_qps=2.0))
    assert list(table.index) == RunParams.names()
    assert set(table.index) == set(RunParams.model_fields)
    assert table.loc["target_qps"].tolist()[:2] == ["2.0", "changed"]
    assert table.loc["seed"].tolist()[:2] == ["0", ""]


@pytest.mark.parametrize("others", ["[{0}]", "[{0}, {0}]", "[{0}, {0}/notebooks/perf.ipynb]"])
def test_a_run_is_not_compared_with_itself(monkeypatch, others):
    example = str(ROOT / "outputs" / "example")
    cell = f"run = {example!r}\nruns = {others.format(example)!r}\n"
    monkeypatch.setattr(report_parameters, "_executed_cells", lambda: [cell])
    with pytest.raises(ParameterError, match="is compared with itself: a run has no difference"):
        runs_to_compare(Run.open(example))


@pytest.mark.parametrize("cell", ["a\0b", "\ud800", "target_qps = " + "-" * 100_000 + "1"])
def test_a_cell_that_is_no_python_gives_nothing(cell):
    assert given_values([OWN_CELL, cell], KNOWN) == given_values([OWN_CELL], KNOWN)


@pytest.mark.parametrize("value", ["float('x')", "{[]: 1}"])
def test_a_value_that_python_refuses_is_one_error(value):
    with pytest.raises(BenchmarkError, match="The parameter target_qps must be a plain value"):
        given_values([OWN_CELL, f"target_qps = {value}"], KNOWN)


@pytest.mark.parametrize(
    ("flags", "run_name"),
    [
        (["-p", "run_name", "1.10"], None),
        (["-p", "run_name", "7e12345"], None),
        (["-r", "run_name", "1.10"], "1.10"),
        (["-y", "run_name: '1.10'"], "1.10"),
        (["-p", "run_name", "20261124"], "20261124"),
    ],
)
def test_a_name_that_papermill_makes_a_number_of(tmp_path, flags, run_name):
    source, made = ROOT / "notebooks" / "perf.ipynb", tmp_path / "out.ipynb"
    arguments = [str(source), str(made), "--prepare-only", "--no-progress-bar", *flags]
    papermill.cli.papermill(arguments, standalone_mode=False)
    cells = [cell.source for cell in nbformat.read(made, 4).cells if cell.cell_type == "code"]
    values = given_values(cells, set(RunParams.model_fields))
    if run_name is None:
        with pytest.raises(ParameterError, match=r"run_name = .*not text.* -r NAME VALUE"):
            RunParams.from_dict(values)
    else:
        assert RunParams.from_dict(values).run_name == run_name


def test_a_run_named_by_a_number_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(report_parameters, "_executed_cells", lambda: ["run = 1.1\nruns = []"])
    with pytest.raises(ParameterError, match=r"run = 1\.1: .*not text"):
        run_to_read()


@pytest.mark.parametrize("outside", [True, False])
def test_a_notebook_outside_of_the_checkout_says_so(tmp_path, monkeypatch, capsys, outside):
    monkeypatch.chdir(tmp_path if outside else ROOT / "notebooks")
    monkeypatch.setattr(report_parameters, "_executed_cells", lambda: [OWN_CELL])
    report_parameters.parameters()
    assert ("outside of the project's checkout" in capsys.readouterr().out) is outside


def test_run_of_a_notebook_in_ipython_names_what_works():
    line = "get_ipython().run_line_magic('run', 'notebooks/perf.ipynb')"
    with pytest.raises(BenchmarkError, match=r"%run .*papermill.*nbconvert --execute"):
        given_values([line], KNOWN)


def test_names_of_runs_stay_text():
    assert _names("[1.10, 007, 2026-11-24, no]") == ["1.10", "007", "2026-11-24", "no"]


@pytest.mark.parametrize("text", ["[", "!!bool x", "!!int ''", "a: [1"])
def test_a_list_of_runs_that_is_no_yaml_is_one_error(text):
    with pytest.raises(ParameterError, match="is no list of folders or notebooks"):
        _names(text)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_all_notebooks_mean_the_same_by_a_benchmark(benchmark):
    """A parameters cell that named what a benchmark sets would come over it."""
    found = []
    for name in ("setup", "accuracy", "perf"):
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        given = given_values([cell.source], set(RunParams.model_fields))
        found.append(RunParams.from_dict(given | {"benchmark": benchmark}))
    names = RunParams.names("fixed")
    assert len({tuple(str(getattr(one, name)) for name in names) for one in found}) == 1
