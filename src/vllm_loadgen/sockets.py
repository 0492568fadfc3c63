"""Where Unix sockets are made: a long TMPDIR leaves no room for their names."""

import os
import tempfile

from vllm_loadgen.errors import BenchmarkError

MOST_BYTES = 107  # of a socket's path (Linux: sun_path in sockaddr_un)
SHORT = ("/tmp", "/var/tmp")


def short_folder(name_bytes: int) -> str:
    """The temporary directory, or a shorter one if paths within it would be too long.

    Args:
        name_bytes: longest name of a path within it.

    Raises:
        BenchmarkError: if there is no temporary directory, or none is short enough.
    """
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        problem = "No temporary directory can be written"
        raise BenchmarkError(f"{problem}. Set TMPDIR to a folder that can.") from None
    longest = MOST_BYTES - 1 - name_bytes
    for place in (folder, *SHORT):
        if len(os.fsencode(place)) <= longest and os.access(place, os.W_OK | os.X_OK):
            return place
    problem = f"TMPDIR is too long for Unix sockets ({len(os.fsencode(folder))} bytes)"
    raise BenchmarkError(f"{problem}. Set it to a folder of at most {longest} bytes.")
