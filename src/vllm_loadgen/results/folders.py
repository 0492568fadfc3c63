"""The folders of runs: where they lie, that nothing in them is overwritten, and their JSON."""

import json
import os
import secrets as random_names
from datetime import datetime
from pathlib import Path
from typing import Any

from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.params import RunParams

ROOT_MARK = "pyproject.toml"


def project_root() -> Path:
    """The checkout around the working directory; the directory itself outside of one.

    Notebooks run in their own folder under JupyterLab and anywhere under papermill, and all of
    them write to the same outputs.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ROOT_MARK).is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def find_file(name: str) -> str:
    """A file named relative to the working directory or to the project's root."""
    if not Path(name).expanduser().exists() and (project_root() / name).exists():
        return str(project_root() / name)
    return name


def make_folder(params: RunParams, test: str) -> Path:
    """The run's folder, made and found writable.

    Raises:
        ParameterError: if it cannot be written or has the test already.
    """
    base = Path(params.outputs).expanduser()
    base = base if base.is_absolute() else project_root() / base
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    model = Path(params.model).name
    folder = base / (params.run_name or f"{stamp}-{model}-{params.scenario.lower()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{random_names.token_hex(4)}"
        probe.write_bytes(os.urandom(4096))
        probe.unlink()
    except OSError as error:
        problem = f"{folder} cannot be written: {error.strerror}"
        cure = "give a folder that you may write to, on a disk with room"
        raise ParameterError("outputs", params.outputs, problem, cure) from None
    if test:
        check_free(folder / test)
    return folder


def check_free(folder: Path) -> None:
    """Refuse a test's folder that holds a finished one.

    Raises:
        ParameterError: if it does.
    """
    if (folder / "result.json").is_file():
        if read_json(folder / "result.json")["status"] != "complete":
            return
        problem = f"this run holds the test {folder.name} already, and nothing is overwritten"
        raise ParameterError("run_name", folder.parent.name, problem, "give another run_name")


def make_room(folder: Path) -> None:
    """An empty folder for a test; what an interrupted one left is set aside, not overwritten."""
    check_free(folder)
    if folder.exists():
        number = 1
        while (aside := folder.with_name(f"{folder.name}-unfinished-{number}")).exists():
            number += 1
        folder.rename(aside)
    folder.mkdir(parents=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a run.

    Raises:
        BenchmarkError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}. Run again.") from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2, default=float) + "\n")
    part.replace(path)
