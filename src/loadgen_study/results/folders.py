"""Where things lie: the project, files that a user names, and the folder of runs."""

import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.spellings import spelled

ROOT_MARK = "pyproject.toml"
# The cure of a recorded name that is not found.
NAME_ALONE = "a run records the name alone of what lies outside of project and home: give its path"
# A path in a text, in any encoding: slashes, and what a name consists of. Blanks, quotes and
# brackets belong to a name where they are percent-encoded, or escaped as a shell needs it, or where
# quotes or a line hold the path.
_SLASH = spelled("/")
_IN_NAME = (
    r"(?:[\w.+@-]|%(?![0-9A-Fa-f]{2})"
    r"|%(?:25)*(?!25|2[27Ff]|60|0[9ADad]|3[CcEe]|5[Cc])[0-9A-Fa-f]{2}"
    r"|\\+u(?!00[0-7])[0-9A-Fa-f]{4}"
    r"|(?:\\|%(?:25)*5[Cc])+(?:[ ()\[\]&]|%(?:25)*(?:2[0689]|5[BbDd]))"
    r"|&(?!quot|apos|[lg]t;|nbsp|#0*(?:34|39|47|60|62);|#[xX]0*(?:2[27Ff]|3[CcEe]);)#?\w+;)"
)
# Neither a closing tag nor a part of a URL, a relative path or a fraction. A letter before it may
# be the end of a quote's code, of an escape or a colour, or an option of a compiler.
_BEGIN = (
    r"(?:(?<=%(?:0[9ADad]|2[012678CBcb]|3[ABCDEabcde]|5[Bb]|60|7[BCbc]))|(?<=\\[nrt])"
    r"|(?<=\\u00(?:2[0267]|3[CDEcde]))|(?<=[\[;]\dm)|(?<=[\[;]\d\dm)|(?<=-[ILB])"
    r"|(?<=file://)|(?<=file://localhost)|(?<![\w.~/<*+%#$@?)\]}\\-]))"
)
_PATH = re.compile(
    rf"{_BEGIN}{_SLASH}(?:root(?!{_IN_NAME})|{_IN_NAME}+?(?={_SLASH}))(?:{_SLASH}{_IN_NAME}+)*"
)
# A path in quotes, between tags, or alone on its line may have any character in its names.
_QUOTE = f"(?:{spelled(chr(39))}|{spelled(chr(34))}|`)"
_QUOTED = re.compile(
    rf"(?P<quote>{_QUOTE})"
    rf"(?P<path>{_SLASH}[^\s/<>](?:(?!(?P=quote)|[\n<>]).|(?P=quote)\"(?P=quote)\"(?P=quote)){{0,999}})"
    r"(?P=quote)"
)
_ALONE = re.compile(rf"(?m)(?:(?<=>)|^)(?P<path>{_SLASH}[^\s/<>:][^\n<>:]*)(?=<|$)")
# _PATH finds these as a whole.
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
# What is the same on every machine (LoadGen lists its sources as /bindings/...), and any home.
_SYSTEM = re.compile(rf"{_SLASH}(?:usr|proc|sys|dev|etc|s?bin|lib\d*|run|bindings)(?:{_SLASH}|$)")
_ANY_SLASH = re.compile(_SLASH)
_HOME = re.compile(rf"{_SLASH}(?:(?:home|Users){_SLASH}(?:(?!{_SLASH}).)+|root)(?={_SLASH}|$)")


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


def outputs_folder(outputs: str) -> Path:
    """The folder of all runs, which is named from the project's root.

    Raises:
        ParameterError: if it begins with ~ of a user who has no home.
    """
    try:
        return project_root() / Path(outputs).expanduser()
    except RuntimeError:
        problem, cure = "its user has no home", "give a folder that you may write to"
        raise ParameterError("outputs", outputs, problem, cure) from None


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
    if not existing(name) and (at_root := existing(str(project_root() / name))):
        return str(at_root)
    return name


def existing(name: str, kind: Callable[[Path], bool] = Path.exists) -> Path | None:
    """The file or folder of this name; None if there is none.

    Args:
        kind: ``Path.is_file`` or ``Path.is_dir`` to take only that.
    """
    path = _path(name)
    return path if path is not None and kind(path) else None


def _path(name: str) -> Path | None:
    """A path that the file system can look up, with its ~ expanded."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError):  # too long for a file's name, or ~ of a user who is none
        return None
    return path


def shown(path: object) -> str:
    """A path, or text with paths in it, relative to the project: it is read on other machines."""
    return str(path).replace(f"{project_root()}/", "")


def portable(text: str, known: Iterable[Path] = ()) -> str:
    """A text without absolute paths that say whose machine it was, in any encoding.

    They are relative to the project where they lie in it, begin with ~ where they lie in a home,
    and are the name alone elsewhere.

    Args:
        known: absolute paths of a run that may stand in the text. They are replaced whole. Of a
            path that is not known, a blank ends it, unless quotes or a line hold it.
    """
    return without_paths(text, known)[0]


def portable_path(name: str) -> str:
    """``portable`` of one path; a relative path stays as it is."""
    path = _path(name)
    if path is None or not path.is_absolute():
        return name
    seen = portable(str(path), [path])
    at_top = len(path.parts) == 2 and seen == str(path)  # a text may have /x with another meaning
    return path.name if at_top else seen


def without_paths(text: str, known: Iterable[Path] = ()) -> tuple[str, list[str]]:
    """``portable`` of a text, and what it replaced."""
    found: list[str] = []

    def replace(match: re.Match[str]) -> str:
        whole, groups = match.group(), match.groupdict()
        path = groups.get("path", whole)
        if groups.get("project"):
            shown = _ANY_SLASH.sub("", groups["rest"], count=1) or "."
        elif groups.get("home"):
            shown = "~" + groups["rest"]
        else:
            shown = _portable(path)
        if shown == path:
            return whole
        found.append(path)
        return whole.replace(path, shown)

    if _ANY_SLASH.search(text):
        for pattern in (_known_paths(*_places(known)), _QUOTED, _ALONE, _PATH):
            text = pattern.sub(replace, text)
    return text, found


def _portable(path: str) -> str:
    """An absolute path of no known place, in any encoding."""
    if home := _HOME.match(path):
        return "~" + path[home.end() :]
    *folders, name = re.split(_SLASH, path.rstrip("/"))
    return path if len(folders) < 2 or _SYSTEM.match(path) else name


def _places(known: Iterable[Path]) -> Iterator[tuple[str, ...]]:
    """Spellings to look for as a whole: of the project, of the home, and of all other places."""
    home = _path("~")
    yield _both(project_root())
    yield _both(home) if home else ()
    others = {Path(value) for value in ":".join(os.environ.values()).split(":")}
    others |= {Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir())}
    others |= {Path(__file__).parents[3], *(one for path in known for one in (path, *path.parents))}
    texts = {str(path) for path in others if path.is_absolute() and len(path.parts) > 2}
    odd = [text for text in texts if not (_SYSTEM.match(text) or _PLAIN.fullmatch(text))]
    yield tuple(sorted(odd, key=lambda text: (-len(text), text)))


def _both(path: Path) -> tuple[str, ...]:
    """A folder as it is called and as its links resolve; nothing if it is the root of all."""
    return tuple(str(one) for one in dict.fromkeys((path, path.resolve())) if one != Path("/"))


@functools.lru_cache(maxsize=16)
def _known_paths(
    projects: tuple[str, ...], homes: tuple[str, ...], others: tuple[str, ...]
) -> re.Pattern[str]:
    def any_of(paths: tuple[str, ...]) -> str:
        return "|".join(map(spelled, paths)) or "(?!)"

    # A longer name is another path.
    end = rf"(?!(?!\.|%(?:25)*20){_IN_NAME}|\.+\w)"
    return re.compile(
        rf"{_BEGIN}(?:(?P<project>{any_of(projects)})|(?P<home>{any_of(homes)})"
        rf"|{any_of(others)}){end}(?P<rest>(?:{_SLASH}{_IN_NAME}+)*)"
    )
