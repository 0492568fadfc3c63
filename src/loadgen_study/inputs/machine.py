"""A machine's limits: memory bandwidth and matrix rate, measured in another process.

Its end frees the GPU memory that PyTorch took, for the engine.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from loadgen_study.analysis.cost import watts_of
from loadgen_study.facts.inputs import MachineLimits
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.gpus import gpu_handles
from vllm_loadgen.harness.telemetry import INTERVAL_S, Rapl, Telemetry
from vllm_loadgen.http.redfish import Controller, Redfish
from vllm_loadgen.redact import environment_without_secrets

BENCH_S = 1.0
IDLE_SAMPLES = 4
TIMEOUT_S = 600
# Buffers, as a multiple of the last level of cache: a copy within a cache does not measure memory.
CACHES = 8
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}  # of the kernel's sizes of caches
MATRIX = {"cpu": 1024, "cuda": 8192}
# "fp8" is a scaled product of float8_e4m3fn, which only GPUs have.
TYPES = ("float32", "float16", "bfloat16", "fp8")


def measure_limits(dtypes: Sequence[str]) -> MachineLimits:
    """Memory bandwidth, and the matrix rate in each of these types that the device has.

    Args:
        dtypes: of ``TYPES``; others are left out.

    Raises:
        BenchmarkError: if they cannot be measured.
    """
    command = [sys.executable, "-m", __name__, *(dtype for dtype in TYPES if dtype in dtypes)]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True,
            timeout=TIMEOUT_S, env=environment_without_secrets(),
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        raise BenchmarkError(f"The machine's limits cannot be measured: {' '.join(last)}") from None
    return MachineLimits.model_validate_json(done.stdout.splitlines()[-1])


def idle_power_w(devices: int) -> dict[str, float]:
    """Mean power of this machine over some seconds, by source; empty without a meter.

    Args:
        devices: GPUs to look at.

    Raises:
        ParameterError: if REDFISH_URL cannot be used.
    """
    controller = Controller.of_environment()
    with gpu_handles(devices) as gpus:
        if not (controller or gpus or Rapl().read()):
            return {}
    with Redfish(controller, INTERVAL_S) as power, Telemetry(devices, power=power.read) as seen:
        time.sleep(IDLE_SAMPLES * INTERVAL_S + INTERVAL_S / 2)
    return watts_of(seen.table(0).to_pandas())


def _measure(dtypes: Sequence[str]) -> MachineLimits:
    """The limits, measured in this process; takes some seconds."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        cache = int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0))
        size = max(2**30, CACHES * cache)
    else:
        cache = _cpu_cache_bytes()
        size = min(max(2**27, CACHES * cache), psutil.virtual_memory().available // 8)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copies_per_s = _rate(partial(target.copy_, source), device)
    del source, target
    rates = {}
    for dtype in dtypes:
        with suppress(RuntimeError, AttributeError, NotImplementedError):  # the device has it not
            rates[dtype] = round(_products_per_s(dtype, device) * 2 * MATRIX[device] ** 3 / 1e12, 4)
    return MachineLimits(
        device=device,
        threads=torch.get_num_threads(),
        memory_bandwidth_gb_s=round(copies_per_s * 2 * size / 1e9, 2),
        buffer_mib=size // 2**20,
        last_level_cache_mib=round(cache / 2**20, 1),
        matrix_tflop_s=rates,
        asked_for=tuple(dtypes),
    )


def _products_per_s(dtype: str, device: str) -> float:
    """How many products of two square matrices of random numbers a second."""
    import torch

    n = MATRIX[device]
    a, b = (torch.randn(n, n, device=device) for _ in range(2))
    if dtype != "fp8":
        a, b = (matrix.to(getattr(torch, dtype)) for matrix in (a, b))
        return _rate(partial(torch.mm, a, b), device)
    if device == "cpu":  # PyTorch emulates it there: not a limit of the machine
        raise NotImplementedError
    one = torch.ones((), device=device)
    a, b = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()  # column-major, as it wants
    product = partial(torch._scaled_mm, a, b, one, one, out_dtype=torch.bfloat16)
    return _rate(product, device)


def _cpu_cache_bytes(root: Path = Path("/sys/devices/system/cpu")) -> int:
    """The last level of cache of all sockets together; 0 if unknown."""
    caches: dict[tuple[int, str], int] = {}
    for index in root.glob("cpu[0-9]*/cache/index[0-9]*"):
        with suppress(OSError, ValueError, KeyError):
            level, size, shared = (
                (index / name).read_text(encoding="utf-8").strip()
                for name in ("level", "size", "shared_cpu_map")
            )
            caches[int(level), shared] = int(size[:-1]) * UNITS[size[-1:]]
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last)


def _rate(work: Callable[[], object], device: str) -> float:
    """How often a second ``work`` runs: the fastest of repeats of about ``BENCH_S`` in all.

    Other work of the machine only slows a repeat, and a limit that is too low would let a run seem
    nearer to it than it is.
    """
    import torch

    def once() -> float:
        begin = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    once()  # allocation and kernel choice stay out of the figure
    times = [once()]
    while sum(times) < BENCH_S or len(times) < 5:
        times.append(once())
    return 1 / min(times)


if __name__ == "__main__":
    print(_measure(sys.argv[1:]).model_dump_json())
