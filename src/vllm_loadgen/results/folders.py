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
    if not Path(name).expanduser().exists() and (project_root() / name).exists():
        return str(project_root() / name)
    return name


def shown(path: object) -> str:
    """A path, or text with paths in it, relative to the project: it is read on other machines."""
    return str(path).replace(f"{project_root()}/", "")
