"""Damaged files for the tests of properties, and the watch over what reads them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from vllm_loadgen import BenchmarkError

# What a reader of files must never do (https://docs.python.org/3/library/audit_events.html).
FORBIDDEN = {
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen",
    "pickle.find_class", "marshal.loads",
}  # fmt: skip
# Python's text becomes code under these names; modules and classes have others.
TEXT_AS_CODE = ("<string>", "<unknown>", "<stdin>")

_seen: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    code = getattr(arguments[0], "co_filename", "") if event == "exec" else ""
    if (event in FORBIDDEN or code in TEXT_AS_CODE) and not _own_code():
        _seen.append(f"{event} {arguments}")


def _own_code() -> bool:
    """Whether a module is being imported at its first use, or nbformat's own schema compiled."""
    frame = sys._getframe()
    while frame := frame.f_back:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or "/fastjsonschema/" in file:
            return True
    return False


sys.addaudithook(_listen)  # there is no way to take one away


@contextmanager
def nothing_runs() -> Iterator[None]:
    """The body evaluates no text, unpickles nothing and starts no process."""
    global _seen
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
    assert not seen, seen


@contextmanager
def known_errors() -> Iterator[None]:
    """``nothing_runs``, and of errors only those that a user can act on, of one line."""
    with nothing_runs():
        try:
            yield
        except BenchmarkError as error:
            if len(str(error).splitlines()) != 1:
                raise AssertionError(f"not one line: {error}") from error


# What a file may hold in place of what belongs there.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-2, 3) | st.floats() | st.text()
    | st.sampled_from(["", "__class__", "!!python/object/apply:os.system [id]", "nan", "1e999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def damaged_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """A file cut short, with bytes changed, left out or put in, or another file altogether."""
    kind = draw(st.sampled_from(["cut", "change", "leave out", "put in", "other"]))
    if kind == "other":
        return draw(st.binary(max_size=200))
    at = draw(st.integers(0, len(good)))
    if kind == "cut":
        return good[:at]
    if kind == "leave out":
        return good[:at] + good[at + draw(st.integers(1, 40)) :]
    piece = draw(st.binary(min_size=1, max_size=8))
    return good[:at] + piece + good[at + (len(piece) if kind == "change" else 0) :]


@st.composite
def damaged_json(draw: st.DrawFn, good: Any) -> Any:
    """A value with one or two of its pieces replaced, renamed or left out."""
    value = good
    for _ in range(draw(st.integers(1, 2))):
        value = draw(_damaged_once(value))
    return value


@st.composite
def _damaged_once(draw: st.DrawFn, good: Any) -> Any:
    inside = isinstance(good, dict | list) and good and draw(st.integers(0, 7)) > 0
    if not inside:
        return draw(JSON)
    places = list(good) if isinstance(good, dict) else list(range(len(good)))
    place = draw(st.sampled_from(places))
    changed = dict(good) if isinstance(good, dict) else list(good)
    if draw(st.integers(0, 5)):
        changed[place] = draw(_damaged_once(good[place]))
    else:
        del changed[place]
    return changed
