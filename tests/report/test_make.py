"""The notebooks, by papermill: on the echo engine in many ways, and once with the real one."""

import gc
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT, Leftovers, interrupt, when_answered, write_articles
from papermill import PapermillExecutionError, execute_notebook

from loadgen_study import Run, RunParams, cli
from loadgen_study.params import read_yaml
from loadgen_study.report import make
from loadgen_study.report.console import Console
from loadgen_study.words import significant
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.records.engine import EngineFacts

PAPERMILL = [str(Path(sys.executable).parent / "papermill")]
ECHO = {
    "engine": "echo", "target_qps": 100, "min_duration_ms": 500, "max_new_tokens": 32,
    "run_name": "r",
}  # fmt: skip


def papermill(notebook, target, cwd=ROOT, **values):
    flags = [part for name, value in values.items() for part in ("-p", name, str(value))]
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    command = [*PAPERMILL, str(path), str(target), "--no-progress-bar", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def texts(path):
    """All text of an executed notebook's outputs."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            found.append(output.get("text", ""))
            found += [str(value) for value in output.get("data", {}).values()]
            found += [output.get("evalue", ""), *output.get("traceback", [])]
    return "\n".join(found)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return str(write_articles(tmp_path_factory.mktemp("data") / "a.jsonl", 12))


@pytest.fixture(scope="module")
def executed(tmp_path_factory, dataset):
    """A folder with the four notebooks, by papermill's command there, and their run, ``out/r``."""
    folder = tmp_path_factory.mktemp("executed")
    values = {**ECHO, "dataset": dataset, "outputs": folder / "out"}
    for name in ("setup", "accuracy", "perf"):
        done = papermill(name, folder / f"{name}.ipynb", cwd=folder, **values)
        assert done.returncode == 0, done.stderr[-2000:]
    run = folder / "out" / "r"
    done = papermill("analysis", folder / "analysis.ipynb", cwd=folder, run=run)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.notebook
def test_notebooks_by_papermill_from_another_folder(executed):
    folder = executed / "out" / "r"
    shown = texts(executed / "analysis.ipynb")
    metrics = Run.open(folder).test("performance").metrics
    assert significant(metrics.tokens_per_s) in shown
    assert "Not an MLPerf result: " in shown
    assert (folder / "benchmark_results_visualization.png").is_file()
    for name in ("setup", "accuracy", "perf", "analysis"):
        shown = texts(executed / f"{name}.ipynb")
        assert "Traceback" not in shown
        assert "Warning" not in shown


@pytest.mark.notebook
def test_a_report_is_made_again_from_what_it_recorded(tmp_path, executed, dataset):
    folder = executed / "out" / "r"
    given = {
        **read_yaml(str(folder / "params.yaml")),
        "outputs": str(tmp_path),
        "run_name": "again",
    }
    # It lies outside of project and home, so a run that may be given away has its name alone.
    assert given["dataset"] == "a.jsonl"
    given["dataset"] = dataset
    page = make.make_report(RunParams.from_dict(given), given, ["perf"])
    first, again = Run.open(folder), Run.open(page.parent)
    assert again.params == first.params
    assert again.dataset == first.dataset
    order = [run.test("performance").records["sample_index"].tolist() for run in (first, again)]
    assert order[0] == order[1]  # the seeds are LoadGen's


@pytest.mark.notebook
@pytest.mark.parametrize("cause", [BenchmarkError, KeyboardInterrupt])
def test_a_job_that_stops_leaves_a_report_of_what_was_measured(tmp_path, dataset, capfd, cause):
    fails = cause is BenchmarkError
    options = {"slots": 1, "ttft_ms": 300, "fail_at": 3 if fails else -1}
    given = {
        **ECHO, "dataset": dataset, "outputs": str(tmp_path), "engine_options": options,
        "warmup_queries": 0,
    }  # fmt: skip
    folder = tmp_path / "r"
    if not fails:
        when_answered(folder / "performance", 2, interrupt, threading.get_ident())
    with pytest.raises(cause):
        make.make_report(RunParams.from_dict(given), given, ["perf"])
    gc.collect()  # asyncio logs what nobody waits for when it is collected
    said = capfd.readouterr()
    assert f"Report: {folder / 'report.html'}" in said.out
    assert "Traceback" not in said.err
    assert not Run.open(folder).test("performance").result.complete
    assert "<h1" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("notebook", "values", "words", "command"),
    [
        (
            "perf",
            {"targt_qps": 1},
            "targt_qps = 1: is not a parameter. Did you mean target_qps?",
            True,
        ),
        ("perf", {"target_qps": -1}, "target_qps = -1", False),
        ("perf", {"scenario": "Servr"}, "scenario = 'Servr'", False),
        ("accuracy", {"model": "/nowhere"}, "model = '/nowhere': is neither a folder", False),
        ("setup", {"max_model_len": 300}, "max_model_len = 300: sample", False),
        ("analysis", {"run": "/nowhere"}, "run = '/nowhere': holds no params.yaml", False),
        ("analysis", {"rnu": "x"}, "rnu = 'x': is not a parameter", False),
    ],
)
def test_bad_input_is_one_line_and_a_failure(tmp_path, notebook, values, words, command):
    target = tmp_path / "out.ipynb"
    values = {"outputs": str(tmp_path / "out"), **values}
    if command:
        assert papermill(notebook, target, **values).returncode != 0
    else:
        with pytest.raises(PapermillExecutionError):
            execute_notebook(ROOT / "notebooks" / f"{notebook}.ipynb", target, parameters=values,
                             cwd=ROOT, progress_bar=False)  # fmt: skip
    (error,) = [
        output
        for cell in nbformat.read(target, as_version=4).cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert words in error["evalue"]
    assert error["traceback"] == [f"{error['ename']}: {error['evalue']}"]


@pytest.mark.notebook
def test_a_checkout_and_a_dataset_of_any_name_stay_out_of_a_run(tmp_path, monkeypatch, capsys):
    project = tmp_path / "My Pröject (v2)"
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", project)
    dataset = tmp_path / "acme & [merger]" / "a.jsonl"
    dataset.parent.mkdir()
    write_articles(dataset, 12)
    monkeypatch.chdir(project)
    given = {**ECHO, "dataset": str(dataset)}
    make.execute(project / "notebooks" / "perf.ipynb", project, given, Console(["perf"]))
    run = project / "outputs" / "r"
    shutil.move(project / "perf.ipynb", run)
    make.render(run / "perf.ipynb", run / "report.html")
    assert cli.main(["check", str(run / "perf.ipynb")]) == 0, capsys.readouterr().out
    assert cli.main(["check", str(run / "report.html")]) == 0, capsys.readouterr().out
    assert cli.main(["check", str(run), "--clean"]) == 0, capsys.readouterr().out
    for file in run.rglob("*"):
        text = file.read_bytes().decode(errors="replace") if file.is_file() else ""
        assert not re.search(r"My(?: |%20)Pr|merger\]", text), file
    metadata = nbformat.read(run / "perf.ipynb", as_version=4).metadata.papermill
    assert metadata["input_path"] == "notebooks/perf.ipynb"


@pytest.mark.engine
@pytest.mark.notebook
def test_the_main_job_with_a_real_model(tmp_path, capsys):
    leftovers = Leftovers()
    values = {
        "num_samples": 4, "max_new_tokens": 8, "min_duration_ms": 1000, "min_query_count": 4,
        "target_qps": 1, "warmup_max_s": 1, "outputs": tmp_path, "run_name": "main",
    }  # fmt: skip
    flags = [part for name, value in values.items() for part in ("-p", name, str(value))]
    assert cli.main(["report", f"--params={ROOT / 'params' / 'cpu.yaml'}", *flags]) == 0
    folder = tmp_path / "main"
    page = (folder / "report.html").read_text()
    # Neither an image nor a style is fetched from elsewhere.
    assert not re.findall(r"""(?:src|href)=(?!["']?(?:data:|#))""", page)
    assert "Traceback" not in page
    run = Run.open(folder)
    assert run.summary.tests["performance"].num_errors == 0
    assert run.summary.tests["accuracy"].score["gen_num"] == 4
    assert {p.stem for p in (folder / "notebooks").iterdir()} == {*make.MEASURING, "analysis"}
    assert EngineFacts.read(folder / "engine.json").prefix_caching is False
    for notebook in (folder / "notebooks").iterdir():
        assert "INFO" not in texts(notebook)  # vLLM's log stays out of the reader's way
    # One engine for both that need it, and nothing of it is left.
    assert "loaded before, used again" in texts(folder / "notebooks" / "perf.ipynb")
    leftovers.check()


def test_notebooks_are_committed_without_outputs():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None


@pytest.mark.parametrize("name", ["setup", "accuracy", "perf", "analysis"])
def test_cells_of_a_notebook_fit_a_screen(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    lengths = [len(c.source.splitlines()) for c in notebook.cells if c.cell_type == "code"]
    assert max(lengths) <= 15
    assert len(lengths) <= 20
