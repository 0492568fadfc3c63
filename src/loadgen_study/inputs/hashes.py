"""SHA-256 of files: of a checkpoint's gigabytes once, and again only when a file has changed."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from loadgen_study import progress
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import sha256, write_json

# A second of hashing or so; less needs no progress bar.
LARGE_BYTES = 2**30
CACHE_FILE = "sha256.json"
# A file's state when it was hashed: its size, when its content changed, when anything of it did
# (no tool sets this back), and its inode.
State = tuple[int, int, int, int]
Known = dict[str, tuple[State, str]]  # by real path, with the hash


def cache_folder() -> Path:
    """Where converted models and hashes are kept between runs ($XDG_CACHE_HOME or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vllm_loadgen"


def cached_sha256(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, hex, by file name.

    Only files that the cache does not know as they look now are read. They are known by their real
    path: a hub's snapshot is links to its blobs.

    Raises:
        OSError: if a file cannot be read.
    """
    paths = {file.name: file.resolve() for file in files}
    # Of before the reading: a file that changes meanwhile is read again the next time.
    states = {path: _state(path) for path in paths.values()}
    known = _read()
    unread = [path for path in states if known.get(str(path), (None,))[0] != states[path]]
    if unread:
        made = {str(path): (states[path], sha) for path, sha in _hash(unread).items()}
        known = _read() | known | made  # another run may have added its own by now
        _write({path: entry for path, entry in known.items() if os.path.exists(path)})
    return {name: known[str(path)][1] for name, path in paths.items()}


def _state(path: Path) -> State:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _hash(paths: list[Path]) -> dict[Path, str]:
    sizes = {path: path.stat().st_size for path in paths}
    if sum(sizes.values()) < LARGE_BYTES:
        return {path: sha256(path) for path in paths}
    made, title = {}, "Hashing the model's files, once"
    with progress.bar(sum(sizes.values()), title, unit="B", unit_scale=True) as bar:
        for path, size in sizes.items():
            made[path] = sha256(path)
            bar.update(size)
    return made


def _read() -> Known:
    """What the cache holds; nothing if it is missing or damaged, since all can be hashed again."""
    try:
        return TypeAdapter(Known).validate_json((cache_folder() / CACHE_FILE).read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(known: Known) -> None:
    # If it cannot be written, or two runs write it at once, files are only hashed again.
    with suppress(OSError, BenchmarkError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_json(cache_folder() / CACHE_FILE, known)
