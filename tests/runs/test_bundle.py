"""A run in one zip: nothing in it that tells whose it was, and read as its folder is."""

import zipfile
from pathlib import Path

import pytest
from helpers import RESULT, ROOT, make_records, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams, cli, share
from loadgen_study.results import bundles
from loadgen_study.runs.compare import digest, read_digest
from loadgen_study.share import bundle
from vllm_loadgen import ParameterError
from vllm_loadgen.errors import BenchmarkError

SECRET = "hf_" + "aB3" * 12


@pytest.fixture
def run(tmp_path):
    folder = write_facts(tmp_path / "runs" / "mine", RunParams())
    write_test(folder / "performance", RESULT, seed_records())
    (folder / "engine.log").write_text(f"loading with {SECRET} from /srv/secret-place/model\n")
    (folder / "report.html").write_text("<html></html>")
    return Run.open(folder)


def test_a_bundle_is_read_as_its_folder_is(run):
    file, _ = bundle(run)
    assert file == run.folder.with_name("mine.zip")
    found = Run.open(file)
    assert found.folder.name == "mine"
    assert found.performance.records.equals(run.performance.records)
    assert read_digest(str(file)) == digest(run).model_copy(update={"folder": found.folder})
    assert Run.open(file).folder == found.folder  # unpacked once


def test_a_file_within_a_zip_is_found(run, tmp_path):
    file, _ = bundle(run)
    found = Path(bundles.find_within(f"{file}/params.yaml"))
    assert found.read_text(encoding="utf-8") == (run.folder / "params.yaml").read_text()
    assert bundles.find_within("params/cpu.yaml") == "params/cpu.yaml"
    (tmp_path / "is.zip").mkdir()  # a folder of that name is none
    inside = str(tmp_path / "is.zip" / "a.yaml")
    assert bundles.find_within(inside) == inside
    assert cli.main(["doctor", "--params", f"{file}/other.yaml"]) == 1  # one line


def test_a_run_is_named_as_its_reader_has_it(run):
    file, _ = bundle(run)
    assert Run.open(file).display_path() == str(file)
    assert Run.open(run.folder).display_path("params.yaml") == f"{run.folder}/params.yaml"
    assert Run.open(ROOT / "outputs" / "example").display_path() == "outputs/example"
    empty = Run.open(bundle(Run.open(write_facts(run.folder.parent / "bare", RunParams())))[0])
    with pytest.raises(ParameterError, match=r"runs = .*/bare\.zip'?: has no performance test"):
        digest(empty)


def test_what_would_be_given_away_is_taken_out_of_the_bundle_alone(run):
    file, taken = bundle(run)
    assert {leak.kind for leak in taken} == {"secret", "absolute path"}
    assert share.check(Run.open(file).folder) == []
    assert SECRET in (run.folder / "engine.log").read_text()


def test_the_owner_may_want_it_as_it_is(run, capsys, tmp_path):
    target = tmp_path / "all.zip"
    assert cli.main(["bundle", str(run.folder), "--as-it-is", f"--out={target}"]) == 0
    assert str(target) in capsys.readouterr().out
    with zipfile.ZipFile(target) as file:
        assert SECRET in file.read("mine/engine.log").decode()
        assert "mine/performance/records.parquet" in file.namelist()


def test_what_cannot_be_taken_out_is_refused(run):
    (run.folder / "performance" / "mlperf_log_summary.txt").write_text(SECRET)
    with pytest.raises(ParameterError, match=r"mlperf_log_summary.txt: secret.*--as-it-is"):
        bundle(run)
    assert not run.folder.with_name("mine.zip").exists()


@pytest.mark.slow
def test_the_committed_example_can_be_bundled(tmp_path):
    file, taken = bundle(Run.open(ROOT / "outputs" / "example"), tmp_path / "example.zip")
    assert taken == []
    assert Run.open(file).performance.metrics.completed == 64


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (None, "cannot be read as a zip"),
        ([], "holds no run"),
        (["a/params.yaml", "b/params.yaml"], "holds no run"),
        (["../params.yaml"], "holds no run"),
        (["../a/params.yaml"], "holds no run"),
    ],
)
def test_what_is_no_bundle_is_one_line(tmp_path, names, words):
    path = tmp_path / "sent.zip"
    path.write_bytes(b"no zip")
    if names is not None:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, "seed: 0")
    with pytest.raises(ParameterError, match=words):
        Run.open(path)
    assert not (tmp_path / "params.yaml").exists()


def test_a_damaged_file_within_a_zip_is_told_with_its_name(run, tmp_path):
    (run.folder / "performance" / "result.json").write_text("{")
    file, _ = bundle(run, tmp_path / "sent.zip", as_it_is=True)
    with pytest.raises(BenchmarkError, match=r"sent\.zip/mine/performance/result\.json cannot be"):
        Run.open(file).test("performance")


def test_a_bundle_that_would_fill_the_disk_is_refused(run, monkeypatch):
    file, _ = bundle(run)
    monkeypatch.setattr(bundles, "MOST_BYTES", 100)
    bundles._unpacked.cache_clear()
    with pytest.raises(ParameterError, match="unpacks into more than"):
        Run.open(file)


def test_a_zip_is_not_rendered_into_nowhere(run, capsys):
    file, _ = bundle(run)
    assert cli.main(["render", str(file)]) == 1
    assert "unpack it" in capsys.readouterr().err.lower()


def test_the_newest_run_is_one_that_has_something_to_show(tmp_path, monkeypatch):
    import os

    monkeypatch.setattr("loadgen_study.results.folders.project_root", lambda: tmp_path)
    for age, name in enumerate(["died", "finished", "older"]):
        folder = write_facts(tmp_path / "outputs" / name, RunParams())
        os.utime(folder / "params.yaml", (1e9 - age, 1e9 - age))
    assert Run.newest().folder.name == "died"  # none has ended
    rows = [(0, 0, 0, 1, 2, 9, 5)]
    done = write_test(tmp_path / "outputs" / "finished" / "performance", RESULT, make_records(rows))
    test = Run.open(done.parent).performance
    Run.open(done.parent).summary.noted("performance", test.summary()).write(
        done.parent / "summary.json"
    )
    assert Run.newest().folder.name == "finished"
