"""A run in one zip file, unpacked into a folder that is removed when the process ends."""

import atexit
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from loadgen_study.results.folders import existing, find_file
from vllm_loadgen.errors import ParameterError

SUFFIX = ".zip"
# A file that says it unpacks into more than this was not made of a run.
MOST_BYTES = 20 * 2**30
CURE = "give a zip that vllm-loadgen bundle made"


def unpacked(path: Path) -> Path:
    """The folder of the run in a zip file.

    Raises:
        ParameterError: if it is not a zip file, is damaged, or holds no run.
    """
    stat = path.stat()
    return _unpacked(path.resolve(), stat.st_mtime_ns, stat.st_size)


def find_within(name: str) -> str:
    """``find_file``, which also unpacks a file inside a zip, such as peak.zip/params.yaml.

    Raises:
        ParameterError: as ``unpacked``.
    """
    for parent in Path(name).parents:
        if parent.suffix == SUFFIX and (path := existing(find_file(str(parent)), Path.is_file)):
            return str(unpacked(path) / Path(name).relative_to(parent))
    return find_file(name)


@cache
def _unpacked(path: Path, *_: int) -> Path:
    """Unpack each file once; the other arguments differ if it was written again."""
    try:
        with zipfile.ZipFile(path) as file:
            return _extract(path, file)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ParameterError("run", path.name, f"cannot be read as a zip: {error}", CURE) from None


def _extract(path: Path, file: zipfile.ZipFile) -> Path:
    tops = {name.split("/")[0] for name in file.namelist()}
    top = next(iter(tops), "")
    if len(tops) != 1 or f"{top}/params.yaml" not in file.namelist():
        raise ParameterError("run", path.name, "holds no run", CURE)
    if sum(info.file_size for info in file.infolist()) > MOST_BYTES:
        raise ParameterError("run", path.name, "unpacks into more than 20 GiB", CURE)
    temporary = tempfile.mkdtemp(prefix="vllm-loadgen-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    folder = Path(temporary, path.name)  # an error about a file within names the zip
    file.extractall(folder)  # which leaves nothing outside of the folder, whatever names it holds
    if not (folder / top / "params.yaml").is_file():
        raise ParameterError("run", path.name, "holds no run", CURE)
    return folder / top
