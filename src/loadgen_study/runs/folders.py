"""Room for what is measured: a run's folder, a test's, and nothing overwritten or mixed."""

import fcntl
import io
import os
import re
import secrets as random_names
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from loadgen_study.accuracy.scores import check_same_dataset
from loadgen_study.facts.inputs import Dataset, Environment, Model
from loadgen_study.params import COSTS, EXTRA, RunParams
from loadgen_study.results.folders import outputs_folder
from loadgen_study.results.identity import difference, machine_identity
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.files import report_os_errors
from vllm_loadgen.records.result import Result

STAMP, STAMPED, STAMP_LENGTH = "%Y%m%d-%H%M%S", re.compile(r"\d{8}-\d{6}-"), 15
JOINED_FOR = timedelta(hours=24)
CLAIMS = ".claims"  # a folder of the run's, with an empty file a notebook


def make_folder(params: RunParams) -> Path:
    """The run's folder, made and found writable.

    Raises:
        ParameterError: if it cannot be written.
    """
    stamp = datetime.now().strftime(STAMP)
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


def run_folder(params: RunParams, requested: RunParams, kind: str) -> Path:
    """A new folder, the one of ``run_name``, or another notebook's.

    A notebook without a run_name joins the newest unnamed run of the last day with the same
    parameters, apart from the rate and the extra tests, unless a notebook of its kind has joined
    before. It claims its test first, so that two kernels never make the same one.

    Args:
        requested: the parameters as they are recorded.
        kind: "setup", "accuracy" or "perf", of a notebook.

    Raises:
        ParameterError: if the folder cannot be written.
    """
    if params.run_name or not kind:
        return make_folder(params)
    if found := _joined(requested.changed(outputs=params.outputs), kind):
        print(f"Joins the run {found.name}")
        return found
    folder = make_folder(params)
    while not claim(folder, kind):  # another kernel's, of the same second
        time.sleep(1)
        folder = make_folder(params)
    return folder


def _joined(params: RunParams, kind: str) -> Path | None:
    """The folder that a notebook joins and claims."""
    outputs = outputs_folder(params.outputs)
    stamped = [path for path in outputs.glob("*") if STAMPED.match(path.name) and path.is_dir()]
    newest = max(stamped, default=None)
    if newest is None or not (newest / CLAIMS).is_dir():
        return None
    started = datetime.strptime(newest.name[:STAMP_LENGTH], STAMP)
    if datetime.now() - started > JOINED_FOR:
        return None
    return newest if _same(newest, params) and claim(newest, kind) else None


def claim(folder: Path, kind: str) -> bool:
    """Whether this notebook is the first of its kind in a run."""
    (folder / CLAIMS).mkdir(exist_ok=True)
    try:
        (folder / CLAIMS / kind).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _same(folder: Path, params: RunParams) -> bool:
    """Whether a run's parameters are these, but for the rate and the extra tests of perf.ipynb."""
    try:
        known = RunParams.recorded(folder / "params.yaml")
    except BenchmarkError:
        return False
    of_perf = {name for name in params.names() if params.group(name) in (EXTRA, COSTS)}
    of_perf |= {*params.names("performance")}
    return known.model_dump(exclude=of_perf) == params.model_dump(exclude=of_perf)


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
