"""The GPUs that this process may use, by NVML."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pynvml


@contextmanager
def gpu_handles(devices: int) -> Iterator[list[Any]]:
    """NVML's handles of the first GPUs that this process may use; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield []
        return
    try:
        yield list(islice(_visible_gpus(), devices))
    finally:
        pynvml.nvmlShutdown()


def gpu_count() -> int:
    """GPUs that this process may use."""
    with gpu_handles(sys.maxsize) as handles:
        return len(handles)


def _visible_gpus() -> Iterator[Any]:
    """The GPUs in the order in which CUDA counts them, by CUDA_VISIBLE_DEVICES if it is set."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        names = ",".join(map(str, range(pynvml.nvmlDeviceGetCount())))
    for name in filter(None, map(str.strip, names.split(","))):
        try:
            yield (
                pynvml.nvmlDeviceGetHandleByIndex(int(name))
                if name.lstrip("-").isdigit()
                else pynvml.nvmlDeviceGetHandleByUUID(name)
            )
        except pynvml.NVMLError:
            return  # CUDA, too, ignores all that follows a name that it does not know
