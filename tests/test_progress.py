"""Bars in a log and in a notebook, and the console of the job."""

import os
from pathlib import Path

import pytest

from loadgen_study import RunParams, progress
from loadgen_study.report.console import Console
from loadgen_study.report.make import make_report
from loadgen_study.runs.curves import shown
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.harness.messages import Progress


class Handle:
    """In place of IPython's handle of an output."""

    def __init__(self):
        self.texts = []

    def update(self, content, raw):
        assert raw
        self.texts.append(content["text/plain"])


@pytest.fixture
def notebook(monkeypatch):
    handle = Handle()
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: handle)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    return handle


def seen(done, issued):
    return Progress(done=done, issued=issued, tokens=10, ttft_ms=5.0, tpot_ms=None)


def test_a_log_has_whole_lines_and_says_what_ended_early(capsys):
    with progress.bar(10, "Accuracy run") as bar:
        bar.update(8)
    with shown("Performance run", 10, about=True) as show:
        show(seen(8, 8))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Accuracy run |")
    assert lines[1].startswith("Accuracy run: 8/10 in 00:00")
    assert lines[1].endswith("(ended early)")
    # LoadGen decides how many queries there are: fewer than expected are all of them.
    assert lines[-1].startswith("Performance run: 8/8 in 00:00")
    assert not lines[-1].endswith("(ended early)")


def test_a_notebook_shows_the_last_line_whole_and_leaves_it_for_the_console(
    notebook, tmp_path, monkeypatch
):
    monkeypatch.setenv(progress.LINE, str(tmp_path / "line"))
    with progress.bar(2, "Accuracy run") as bar:
        bar.update(2)
    assert notebook.texts[0].startswith("Accuracy run |")
    assert notebook.texts[-1] == (tmp_path / "line").read_text()


def test_the_console_numbers_its_steps_and_shows_what_a_kernel_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.01)
    console = Console(["setup", "perf"])
    with console.step("perf"):
        Path(os.environ[progress.LINE]).write_text("41/64, 53 tokens/s", encoding="utf-8")
        while "41/64" not in (printed := capsys.readouterr().out):
            pass
    assert "[2/2] perf: 41/64, 53 tokens/s" in printed
    assert capsys.readouterr().out.startswith("[2/2] perf done in")
    assert progress.LINE not in os.environ


@pytest.mark.parametrize("given", [{"model": "/no/such"}, {"dataset": "no-such.json"}])
def test_a_wrong_name_is_refused_before_a_kernel_starts_and_leaves_no_folder(given, tmp_path):
    given = {**given, "outputs": str(tmp_path), "run_name": "r"}
    with pytest.raises(ParameterError):
        make_report(RunParams.from_dict(given), given)
    assert not list(tmp_path.iterdir())
