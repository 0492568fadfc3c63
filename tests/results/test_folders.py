"""What of a path may be seen on another machine."""

from pathlib import Path

import pytest

from loadgen_study import Run, RunParams
from loadgen_study.results.folders import (
    outputs_folder,
    portable,
    portable_path,
    without_paths,
)
from vllm_loadgen import ParameterError


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """A project within a home."""
    project = tmp_path / "me" / "project"
    (project / "notebooks").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(project)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    return project


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("{project}/outputs/a.json", "outputs/a.json"),
        ("see {project}/data/a.jsonl.", "see data/a.jsonl."),
        ("--params={home}/p.yaml -p dataset {home}/a", "--params=~/p.yaml -p dataset ~/a"),
        ('{{"model": "/home/alice/models/llama"}}', '{{"model": "~/models/llama"}}'),
        ("/Users/alice/x and /root/.config/y and /root", "~/x and ~/.config/y and ~"),
        ("/data/corp/secret-project/a.jsonl", "a.jsonl"),
        ('File "/opt/x/vllm/a.py", line 3', 'File "a.py", line 3'),
        ("-p dataset '/home/a b/acme merger/x.csv'", "-p dataset '~/acme merger/x.csv'"),
        ("-p dataset '/data/acme merger/x.csv' -p seed 1", "-p dataset 'x.csv' -p seed 1"),
        (r"-p dataset /data/a\ b/acme\ \(v2\)/x.csv -p x 1", "-p dataset x.csv -p x 1"),
        (r'"cat /home/a\\ b/acme\\ \\& co/x.csv"', r'"cat ~/acme\\ \\& co/x.csv"'),
        ("see %2Fdata%2Facme%5C%20merger%2Fx.csv: no", "see x.csv: no"),
        ("<td>/data/acme merger/x.csv</td>", "<td>x.csv</td>"),
        ("&quot;/data/a &amp; b/x.csv&quot;", "&quot;x.csv&quot;"),
        ("%22/home/alice/x%22, %2Fdata%2Facme%2Fx%22", "%22~/x%22, x%22"),
        (r"\/home\/m\u00fcller\/x", r"~\/x"),
        ("file:///data/acme%20merger/x.csv", "file://x.csv"),
        ("\x1b[32m/opt/acme/x.py\x1b[39m -I/opt/acme/include", "\x1b[32mx.py\x1b[39m -Iinclude"),
    ],
)  # fmt: skip
def test_a_path_says_where_and_not_whose(somewhere, text, seen):
    text = text.format(project=somewhere, home=somewhere.parent)
    assert portable(text) == seen.format()
    assert without_paths(text)[1]
    assert without_paths(portable(text))[1] == []


@pytest.mark.parametrize(
    "text",
    [
        "12 queries/s, tokens/s/user, 3/4/5, and/or/not",
        "https://example.org/a/b <b>x</b></div></p> application/x/y",
        "data/a.jsonl ./data/b ../data/c ~/d/e $HOME/f/g meta-llama/Llama-3.1-8B",
        "/usr/lib/python3.11/site.py /proc/self/fd /dev/shm/x /etc/hosts",
        "/ /s /x",
    ],
)
def test_what_is_the_same_everywhere_stays(text):
    assert portable(text) == text
    assert without_paths(text)[1] == []


def test_a_path_with_blanks_is_one_path(somewhere):
    assert portable_path("/data/my articles/a b.jsonl") == "a b.jsonl"
    assert portable_path(f"{somewhere}/my data/a.jsonl") == "my data/a.jsonl"
    assert portable_path("~/my data/a.jsonl") == "~/my data/a.jsonl"
    assert portable_path("/a b.jsonl") == "a b.jsonl"


@pytest.mark.parametrize(
    "name", ["embedded", "cnn_dailymail", "data/a.jsonl", "org/model", "x" * 300]
)
def test_what_is_no_absolute_path_stays(name):
    assert portable_path(name) == name


def test_a_working_directory_that_is_the_root_hides_nothing(monkeypatch):
    monkeypatch.chdir("/")
    assert portable("/data/x/a.jsonl") == "a.jsonl"


def test_a_home_that_is_the_root_hides_nothing(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert Path.home() == Path("/")
    assert portable("/data/x/a.jsonl") == "a.jsonl"


def test_runs_are_found_in_the_project_and_in_a_home(somewhere):
    for outputs in ("outputs", "~/runs"):
        run = outputs_folder(outputs) / "one"
        run.mkdir(parents=True)
        (run / "params.yaml").write_text(RunParams().to_yaml())
        assert Run.newest(outputs).folder == run
    assert outputs_folder("outputs") == somewhere / "outputs"
    assert outputs_folder("~/runs") == somewhere.parent / "runs"
    with pytest.raises(ParameterError, match="has no home"):
        outputs_folder("~nobody-of-this-name/runs")
