"""What a run gives away is found in all of its files, and taken out on request."""

import json
import shutil
import zipfile

import nbformat
import pandas as pd
import pytest
import yaml
from helpers import RESULT, ROOT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams, cli, share
from vllm_loadgen import ParameterError

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
PEM = ["-----BEGIN " + "PRIVATE KEY-----\n", "MIIEowSECRET\n", "-----END " + "PRIVATE KEY-----"]
TEXT = f'{TOKEN} of alice-b on krakatau at "/home/alice-b/x" and /data/corp/y'
CLEAN = '[secret] of [user] on [host] at "~/x" and y'
PNG = "iVBORw0KGgo/data/corp/yAKIA/home/alice-b/xx=="


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "alice-b")
    monkeypatch.setattr("socket.gethostname", lambda: "krakatau.example.org")


def kinds(leaks):
    return {leak.kind for leak in leaks}


def notebook(path):
    """An executed notebook that gives away what TEXT does, in every place that can."""
    outputs = [
        nbformat.v4.new_output("stream", text=f"one\n{TEXT}\n" + "".join(PEM)),
        nbformat.v4.new_output("display_data", {"text/html": f"<p>{TEXT}</p>", "image/png": PNG}),
        nbformat.v4.new_output("error", ename="E", evalue=TEXT, traceback=[TEXT, TEXT]),
    ]
    cells = [nbformat.v4.new_code_cell(f"dataset = '''{TEXT}'''\nx = 1", outputs=outputs)]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"input_path": TEXT}})
    nbformat.write(made, path)


def write(path):
    """The text in a file of this kind."""
    match path.suffix:
        case ".json":
            path.write_text(json.dumps({"a": [TEXT, 1.5, None], "max": {"b": PEM}}))
        case ".yaml":
            path.write_text(yaml.safe_dump({"run_name": "alice-b", "dataset": TEXT}))
        case ".parquet":
            pd.DataFrame({"n": [1, 2], "summary": [TEXT, None]}).to_parquet(path)
        case ".ipynb":
            notebook(path)
        case ".html":
            path.write_text(f'<p>{TEXT}</p><img src="data:image/png;base64,{PNG}">')
        case _:
            path.write_text(f"{TEXT}\n{''.join(PEM)}\n")
    return path


FILES = ["a.json", "params.yaml", "engine.log", "user.conf", "report.html", "a.csv",
         "scores.parquet", "a.ipynb"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_leak_is_found_in_each_kind_of_file(tmp_path, name):
    found = share.check(write(tmp_path / name))
    assert kinds(found) == {"secret", "absolute path", "host name", "user name"}
    assert TOKEN[4:] not in "\n".join(map(str, found))
    assert "SECRET" not in "\n".join(map(str, found))


@pytest.mark.parametrize("name", FILES)
def test_cleaning_leaves_nothing_and_the_rest(tmp_path, name):
    path = write(tmp_path / name)
    assert share.clean(path) == []
    assert share.check(path) == []
    match path.suffix:
        case ".json":
            assert json.loads(path.read_text()) == {
                "a": [CLEAN, 1.5, None], "max": {"b": ["[secret]"]}
            }  # fmt: skip
        case ".yaml":
            assert yaml.safe_load(path.read_text()) == {"run_name": "[user]", "dataset": CLEAN}
        case ".parquet":
            frame = pd.read_parquet(path)
            assert frame["n"].tolist() == [1, 2]
            assert frame["summary"][0] == CLEAN
            assert pd.isna(frame["summary"][1])
        case ".ipynb":
            made = nbformat.read(path, as_version=4)
            nbformat.validate(made)
            (cell,) = made.cells
            assert cell.source == f"dataset = '''{CLEAN}'''\nx = 1"
            assert cell.outputs[0].text == f"one\n{CLEAN}\n[secret]"
            assert cell.outputs[1].data["text/html"] == f"<p>{CLEAN}</p>"
            assert cell.outputs[1].data["image/png"] == PNG
            assert cell.outputs[2].traceback == [CLEAN, CLEAN]
        case ".html":
            expected = f'<p>{CLEAN}</p><img src="data:image/png;base64,{PNG}">'
            assert path.read_text() == expected
        case _:
            assert path.read_text().rstrip() == f"{CLEAN}\n[secret]"


def test_a_private_key_that_ends_in_another_cell_breaks_no_notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(PEM[0] + PEM[1]), nbformat.v4.new_code_cell("".join(PEM))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    made = nbformat.reads(share.portable_notebook((tmp_path / "a.ipynb").read_text()), 4)
    assert [cell.source for cell in made.cells] == ["[secret]", "[secret]"]


def test_a_run_is_read_after_it_was_cleaned(tmp_path, capsys):
    params = RunParams(dataset="/home/alice-b/a.jsonl", outputs="/data/out/x")
    folder = write_facts(tmp_path / "run", params, environment={"command": TEXT})
    write_test(folder / "performance", RESULT, make_records([(0, 0, 0, 1, 2, 9, 5)]))
    before = Run.open(folder).performance.metrics
    assert cli.main(["check", str(folder)]) == 1
    assert "With --clean" in capsys.readouterr().out
    assert cli.main(["check", str(folder), "--clean"]) == 0
    assert "0 are left" in capsys.readouterr().out
    assert cli.main(["check", str(folder)]) == 0
    run = Run.open(folder)
    assert run.environment.command == CLEAN
    assert run.params.dataset == "~/a.jsonl"
    assert run.performance.metrics == before


def test_loadgens_own_logs_are_told_of_and_never_changed(tmp_path, capsys):
    log = tmp_path / "mlperf_log_detail.txt"
    log.write_text(TEXT)
    assert cli.main(["check", str(tmp_path), "--clean"]) == 1
    assert log.read_text() == TEXT
    said = capsys.readouterr().out
    assert "mlperf_log_detail.txt: absolute path: /home/alice-b/x" in said
    assert "MLPerf's evidence: they are not changed" in said


@pytest.mark.parametrize(
    "name", ["example", "example-invalid", "example-explore", "example-served"]
)
@pytest.mark.slow
def test_the_committed_runs_give_nothing_away(name):
    assert list(map(str, share.check(ROOT / "outputs" / name))) == []


@pytest.mark.parametrize("name", ["a.json", "a.ipynb", "params.yaml", "scores.parquet"])
def test_a_damaged_file_is_one_line_and_not_called_clean(tmp_path, capsys, name):
    (tmp_path / name).write_text("{ 'a: [")
    assert cli.main(["check", str(tmp_path)]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert f"{name}: not checked: cannot be read" in first
    assert rest == ["With --clean they are taken out, in place."]
    assert (tmp_path / name).read_text() == "{ 'a: ["


def test_a_picture_is_passed_over_and_a_log_with_odd_bytes_is_not(tmp_path):
    shutil.copy(ROOT / "outputs/example/benchmark_results_visualization.png", tmp_path)
    assert share.check(tmp_path) == []
    (tmp_path / "engine.log").write_bytes(b"\xff\x00 /home/alice-b/x \xfe")
    assert kinds(share.check(tmp_path)) == {"absolute path"}


def test_a_path_in_a_key_and_in_a_column_is_found_and_removed(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"/home/alice-b/x": 1}))
    pd.DataFrame({"/home/alice-b/x": [1]}).to_parquet(tmp_path / "a.parquet")
    assert [leak.kind for leak in share.check(tmp_path)] == ["absolute path"] * 2
    assert share.clean(tmp_path) == []
    assert json.loads((tmp_path / "a.json").read_text()) == {"~/x": 1}
    assert list(pd.read_parquet(tmp_path / "a.parquet")) == ["~/x"]


def test_a_packed_file_is_not_called_clean(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.txt", TEXT)
    (leak,) = share.check(tmp_path)
    assert leak.kind == "not checked"
    assert "unpack it" in leak.excerpt


def test_a_run_in_a_folder_of_any_name_is_cleaned_of_it(tmp_path, monkeypatch):
    folder = tmp_path / "acme & merger (v2)" / "run"
    folder.mkdir(parents=True)
    (folder / "engine.log").write_text(f"see {folder}/x and {folder.parent}/y.csv")
    assert kinds(share.check(folder)) == {"absolute path"}
    assert share.clean(folder) == []
    assert (folder / "engine.log").read_text() == "see x and y.csv"


def test_what_is_not_there_is_one_line(tmp_path, capsys):
    with pytest.raises(ParameterError, match="is neither a file nor a folder"):
        share.check(tmp_path / "none")
    assert cli.main(["check", str(tmp_path / "none")]) == 1
    assert "is neither a file nor a folder" in capsys.readouterr().err


def test_names_that_half_of_all_machines_have_are_words(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "vm")
    (tmp_path / "a.txt").write_text("root of a vm, version 9.10.2.21")
    assert share.check(tmp_path) == []
    (tmp_path / "b.txt").write_text("tcp://10.1.2.3:5 10.1.2.3:5 127.0.0.1:80 0.0.0.0:80")
    (leak,) = share.check(tmp_path)
    assert (leak.kind, leak.excerpt, leak.times) == ("host name", "10.1.2.3", 2)


def test_a_run_against_servers_is_read_after_it_was_cleaned(tmp_path, capsys):
    urls = ["http://10.1.2.3:8000", "http://10.1.2.4:8000"]
    folder = write_facts(tmp_path / "run", RunParams(engine="openai", base_url=urls))
    assert cli.main(["check", str(folder), "--clean"]) == 0
    cleaned = Run.open(folder).params
    assert "10.1.2" not in str(cleaned.base_url)
    assert not cleaned.here
