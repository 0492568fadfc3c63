"""Room for what is measured: a run's folder, a test's folder, and nothing in them overwritten."""

import os
import secrets as random_names
from datetime import datetime
from pathlib import Path

from vllm_loadgen.errors import ParameterError
from vllm_loadgen.facts.results import Result
from vllm_loadgen.params import RunParams
from vllm_loadgen.results.folders import project_root


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
        if not Result.read(folder / "result.json").complete:
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
