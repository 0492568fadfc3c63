"""Which cores of a CPU each part of a parallel engine computes on."""

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

SYSTEM = Path("/sys/devices/system")


def cores_of_parts(parts: int, root: Path = SYSTEM) -> str:
    """Cores for each part of an engine, as vLLM's VLLM_CPU_OMP_THREADS_BIND has them ("0,1|2,3").

    vLLM gives each part a memory node of its own. Where there are fewer of them than parts it
    would give none to some, so here the cores are shared out, in order.

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
        siblings = str(cpu)
        with suppress(OSError):
            siblings = (root / f"cpu/cpu{cpu}/topology/thread_siblings_list").read_text(
                encoding="utf-8"
            )
        chosen.setdefault(siblings, cpu)
    return list(chosen.values())
