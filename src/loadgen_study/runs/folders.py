"""Room for what is measured: a run's folder, a test's, and nothing overwritten or mixed."""

import fcntl
import io
import os
import secrets as random_names
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from loadgen_study.accuracy.scores import check_same_dataset
from loadgen_study.facts.inputs import Dataset, Environment, Model
from loadgen_study.params import RunParams
from loadgen_study.results.folders import outputs_folder
from loadgen_study.results.identity import difference, machine_identity
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.files import report_os_errors
from vllm_loadgen.records.result import Result


def make_folder(params: RunParams) -> Path:
    """The run's folder, made and found writable.

    Raises:
        ParameterError: if it cannot be written.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    model = Path(params.model).name
    folder = outputs_folder(params.outputs) / (
        params.run_name or f"{stamp}-{model}-{params.scenario.lower()}"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{random_names.token_hex(4)}"
        probe.write_bytes(os.urandom(4096))
        probe.unlink()
    except OSError as error:
        problem = f"{folder} cannot be written: {error.strerror}"
        cure = "give a folder that you may write to, on a disk with room"
        raise ParameterError("outputs", params.outputs, problem, cure) from None
    return folder


def check_unmixed(
    folder: Path, params: RunParams, model: Model, dataset: Dataset, here: Environment
) -> None:
    """Refuse to mix: all tests of a folder are of one model, dataset, engine and machine.

    Raises:
        ParameterError, BenchmarkError: naming the first thing that differs.
    """
    if other := next(_others(folder, params, model, here), None):
        problem = f"this run's tests are of {other}"
        raise ParameterError("run_name", folder.name, problem, "give another run_name")
    if known := Dataset.read_if_there(folder / "dataset.json"):
        check_same_dataset(known, dataset)


def _others(folder: Path, params: RunParams, model: Model, here: Environment) -> Iterator[str]:
    """In what the folder's tests differ from model, parameters and machine."""
    if before := Model.read_if_there(folder / "model.json"):
        if (before.weights_sha256, before.dtype) != (model.weights_sha256, model.dtype):
            yield f"{before.name} in {before.dtype}"
        for name in {**model.sha256, **before.sha256}:
            if before.sha256.get(name) != model.sha256.get(name):
                yield f"{before.name} with another {name}"
    if any(folder.rglob("result.json")):
        known = RunParams.recorded(folder / "params.yaml")
        # Of dtype the model's own type decides, which "auto" may mean: it is compared above.
        for name in params.names("fixed"):
            same = _as_set(getattr(known, name)) == _as_set(getattr(params, name))
            if not same and name != "dtype":
                yield f"{name} = {getattr(known, name)!r}"
        where = Environment.read_if_there(folder / "environment.json") or here
        if differs := difference(machine_identity(where), machine_identity(here)):
            yield differs


def _as_set(value: object) -> object:
    """Servers are the same in any order."""
    return sorted(value) if isinstance(value, list) else value


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a run's folder while it is written into: two processes would lose each other's tests.

    Raises:
        BenchmarkError: if another process holds it, or it cannot be written.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"Another process is writing the run {folder.name}."
            raise BenchmarkError(f"{problem} Wait for it, or give another run_name.") from None
        with report_os_errors(folder):
            yield
    finally:
        os.close(handle)


def make_room(folder: Path) -> None:
    """Make an empty folder for a test; an interrupted test's is renamed, not overwritten.

    Raises:
        ParameterError: if it holds a finished test.
    """
    result = folder / "result.json"
    if result.is_file() and Result.read(result).complete:
        problem = f"this run holds the test {folder.name} already, and nothing is overwritten"
        raise ParameterError("run_name", folder.parent.name, problem, "give another run_name")
    if folder.exists():
        number = 1
        while (aside := folder.with_name(f"{folder.name}-unfinished-{number}")).exists():
            number += 1
        folder.rename(aside)
    folder.mkdir(parents=True)


def pack(folder: Path, names: Iterable[str]) -> bytes:
    """What lies under these names of a folder, as a zip; a name that is not there is left out."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            for path in [folder / name, *sorted((folder / name).rglob("*"))]:
                if path.is_file():
                    file.write(path, path.relative_to(folder))
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """``pack`` undone, into a folder."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        file.extractall(folder)
