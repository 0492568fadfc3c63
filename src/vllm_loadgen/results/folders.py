"""Where things lie: the project, files that a user names, and the runs under outputs."""

import re
from contextlib import suppress
from pathlib import Path

from vllm_loadgen.errors import BenchmarkError

ROOT_MARK = "pyproject.toml"
# The cure of a recorded name that is not found.
NAME_ALONE = "a run records the name alone of what lies outside of project and home: give its path"
# An absolute path in a text: of two parts or more, and neither a closing tag nor a part of a URL,
# a relative path or a fraction.
_PATH = re.compile(r"(?<![\w.~/<*+%#$@?)\]}-])/(?:root(?![\w.-])|[\w.+@%-]+(?=/))(?:/[\w.+@%-]+)*")
# What is the same on every machine (LoadGen lists its sources as /bindings/...), and any home.
_SYSTEM = re.compile(r"/(?:usr|proc|sys|dev|etc|s?bin|lib\d*|run|bindings)/")
_HOME = re.compile(r"/(?:(?:home|Users)/[^/]+|root)(?=/|$)")


def checkout() -> Path | None:
    """The checkout around the working directory; None outside of one."""
    with suppress(FileNotFoundError):  # the working directory was removed
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / ROOT_MARK).is_file() and (folder / "notebooks").is_dir():
                return folder
    return None


def project_root() -> Path:
    """``checkout``; the working directory itself outside of one.

    Notebooks run in their own folder under JupyterLab and anywhere under papermill, and all of
    them write to the same outputs.

    Raises:
        BenchmarkError: if the working directory was removed.
    """
    try:
        return checkout() or Path.cwd()
    except FileNotFoundError:
        problem = "The working directory does not exist any more"
        raise BenchmarkError(f"{problem}. Change to one that does.") from None


def note_outside() -> str:
    """Where relative paths start, if that is not the checkout; empty within it."""
    if checkout() is not None:
        return ""
    return (
        "The working directory is outside of the project's checkout: relative paths (outputs, "
        "params, dataset, model, run) start at the working directory."
    )


def find_file(name: str) -> str:
    """A file named relative to the working directory or to the project's root."""
    path, at_root = _path(name), _path(str(project_root() / name))
    if path is not None and not path.exists() and at_root is not None and at_root.exists():
        return str(at_root)
    return name


def find_folder(name: str) -> Path | None:
    """The folder of this name, if there is one."""
    path = _path(name)
    return path if path is not None and path.is_dir() else None


def existing_file(name: str) -> Path | None:
    """The file of this name, if there is one."""
    path = _path(name)
    return path if path is not None and path.is_file() else None


def _path(name: str) -> Path | None:
    """A path that can be asked for, with its ~ expanded."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError):  # too long for a file's name, or ~ of a user who is none
        return None
    return path


def shown(path: object) -> str:
    """A path, or text with paths in it, relative to the project: it is read on other machines."""
    return str(path).replace(f"{project_root()}/", "")


def paths_in(text: str) -> list[str]:
    """The absolute paths in a text that say whose machine it was."""
    return [path for path in _PATH.findall(text) if _portable(path) != path]


def portable(text: str) -> str:
    """A text without absolute paths that say whose machine it was.

    They are relative to the project where they lie in it, begin with ~ where they lie in a home,
    and are the name alone elsewhere.
    """
    return _PATH.sub(lambda found: _portable(found.group()), text)


def portable_path(name: str) -> str:
    """``portable`` of one path; what is no absolute path stays as it is."""
    path = _path(name)
    return _portable(str(path)) if path is not None and path.is_absolute() else name


def _portable(name: str) -> str:
    path = Path(name)
    if path.is_relative_to(root := project_root()):
        return str(path.relative_to(root))
    if (home := _path("~")) and path.is_relative_to(home) and home != Path("/"):
        return str("~" / path.relative_to(home))
    if _HOME.match(name):
        return _HOME.sub("~", name, count=1)
    return name if _SYSTEM.match(name) else path.name
