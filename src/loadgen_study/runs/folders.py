"""Folders of runs and of their tests: made, joined, locked; nothing is overwritten or mixed."""

import fcntl
import io
import os
import re
import tempfile
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
    """Make the run's folder, and check that it can be written to.

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
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(os.urandom(4096))
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
    """The newest unnamed run, claimed; None if this notebook may not join it."""
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
    """Claim a run for a notebook of this kind; False if another has claimed it."""
    (folder / CLAIMS).mkdir(exist_ok=True)
    try:
        (folder / CLAIMS / kind).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _same(folder: Path, params: RunParams) -> bool:
    """Whether a run has these parameters, apart from the rate and the extra tests."""
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
    """Refuse a test of another model, dataset, engine or machine than the others in the folder.

    Raises:
        ParameterError, BenchmarkError: naming the first thing that differs.
    """
    if other := _other(folder, params, model, here):
        problem = f"this run's tests are of {other}"
        raise ParameterError("run_name", folder.name, problem, "give another run_name")
    if known := Dataset.read_if_there(folder / "dataset.json"):
        check_same_dataset(known, dataset)


def _other(folder: Path, params: RunParams, model: Model, here: Environment) -> str:
    """The first difference of the folder's tests from model, parameters and machine; or empty."""
    if before := Model.read_if_there(folder / "model.json"):
        if (before.weights_sha256, before.dtype) != (model.weights_sha256, model.dtype):
            return f"{before.name} in {before.dtype}"
        for name in {**model.sha256, **before.sha256}:
            if before.sha256.get(name) != model.sha256.get(name):
                return f"{before.name} with another {name}"
    if not any(folder.rglob("result.json")):
        return ""
    known = RunParams.recorded(folder / "params.yaml")
    for name in params.names("fixed"):
        one, other = getattr(known, name), getattr(params, name)
        if isinstance(one, list):  # servers, in any order
            one, other = sorted(one), sorted(other)
        if one != other and name != "dtype":  # the model's dtype, compared above, is what counts
            return f"{name} = {getattr(known, name)!r}"
    where = Environment.read_if_there(folder / "environment.json") or here
    return difference(machine_identity(where), machine_identity(here))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Lock a run's folder while it is written to: two processes would lose each other's tests.

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
    """Make an empty folder for a test; the folder of an interrupted one is renamed.

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
    """The files and folders of these names in a folder, as a zip; missing ones are left out."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            for path in [folder / name, *sorted((folder / name).rglob("*"))]:
                if path.is_file():
                    file.write(path, path.relative_to(folder))
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Extract what ``pack`` made into a folder."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        file.extractall(folder)
