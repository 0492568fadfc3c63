"""A run as one zip file, in which nothing tells whose machine it was."""

import shutil
import tempfile
import zipfile
from pathlib import Path

from loadgen_study import share
from loadgen_study.results.bundles import SUFFIX
from loadgen_study.results.run import Run
from loadgen_study.share import Leak
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.files import atomic_write


def bundle(run: Run, out: Path | None = None, as_it_is: bool = False) -> tuple[Path, list[Leak]]:
    """Write a run into one zip file, which is read like its folder.

    Args:
        out: the file; next to the run's folder without it.
        as_it_is: with all that ``share.check`` finds; without, it is taken out of the copy. The
            folder itself stays as it is.

    Returns:
        the file, and what was taken out of it.

    Raises:
        ParameterError: if something cannot be taken out.
    """
    target = out or run.folder.with_name(f"{run.folder.name}{SUFFIX}")
    if target.suffix != SUFFIX:
        raise ParameterError("out", str(target), "is not the name of a zip file", "give NAME.zip")
    if as_it_is:
        _write(run.folder, target)
        return target, []
    with tempfile.TemporaryDirectory(prefix="vllm-loadgen-") as folder:
        copy = Path(folder) / run.folder.name
        shutil.copytree(run.folder, copy)
        found = share.check(copy, [run.folder.absolute()])
        if left := (share.clean(copy, [run.folder.absolute()]) if found else []):
            first = f"{left[0].file.relative_to(folder)}: {left[0].kind}: {left[0].excerpt}"
            problem = f"gives away what cannot be taken out of it ({first})"
            cure = "see vllm-loadgen check, or bundle it --as-it-is"
            raise ParameterError("run", run.folder.name, problem, cure)
        _write(copy, target)
    return target, found


def _write(folder: Path, target: Path) -> None:
    with atomic_write(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in (".part", SUFFIX):
                file.write(path, path.relative_to(folder.parent))
