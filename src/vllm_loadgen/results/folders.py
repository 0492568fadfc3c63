"""Where things lie: the project, files that a user names, and the runs under outputs."""

from pathlib import Path

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
