"""environment.yml, pyproject.toml and the locks say the same."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(lines):
    """{name: version} of 'name==version ; marker' lines."""
    found = [re.match(r"([\w.-]+)==([^\s;]+)", line) for line in lines]
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def lock(device):
    return pins((ROOT / ".requirements" / f"{device}.txt").read_text().splitlines())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_dependency_is_pinned_and_locked_at_the_same_version(device):
    wanted = [*PROJECT["dependencies"], *EXTRAS[device], *EXTRAS["test"]]
    direct = pins(wanted)
    assert len(direct) == len(wanted)
    locked = lock(device)
    assert {name: locked.get(name) for name in direct} == direct


def test_conda_installs_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = [d for d in environment["dependencies"] if str(d).startswith("python=")]
    assert python.split("=")[1] in PROJECT["requires-python"]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert "-r .requirements/cpu.txt" in pip
    assert "-e ." in pip


def test_the_cpu_lock_leaves_out_what_does_not_go_with_it():
    locked = lock("cpu")
    assert not {"torchvision", "torchaudio", "torchcodec", "llama-cpp-python"} & set(locked)
    assert not [name for name in locked if name.startswith("nvidia-c")]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_locks_name_no_server(device):
    assert "://" not in (ROOT / ".requirements" / f"{device}.txt").read_text()
