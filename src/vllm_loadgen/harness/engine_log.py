"""An engine's log: why it failed, how long it compiled, what it compiled during a test."""

import re
from collections import deque
from pathlib import Path

TAIL_LINES = 15
# A notebook's kernel asks the programs that it starts for colours, and vLLM obeys.
COLOUR = re.compile(r"\x1b\[[\d;]*m")
# "(EngineCore pid=7) ERROR 11-25 02:44:23 [core.py:1510] ValueError: no room"
CAUSE = re.compile(r"\bERROR\b.*?\]\s+((?:[\w.]*(?:Error|Exception|Interrupt)): \S.*)")
# "init engine (profile, create kv cache, warmup model) took 70.50 s (compilation: 30.25 s)"
COMPILED = re.compile(r"init engine \(.*\) took .*\(compilation: ([\d.]+) s")
# What vLLM, and Triton beneath it, print when a kernel is made or a pool grows (vllm/utils/
# jit_monitor.py, compilation/backends.py and monitor.py, v1/worker/workspace.py and
# gpu_model_runner.py; triton/runtime/autotuner.py).
LATE = re.compile(
    r"compilation during inference|Triton autotuning for|Autotuning kernel"
    r"|Compiling a graph for|Starting torch\.compile"
    r"|Graph capturing finished|Resized workspace"
)
MOST_LINES = 5
LONGEST_LINE = 200
# Words of vLLM, PyTorch and the kernel -> what to change here.
CURES = {
    "VLLM_CPU_KVCACHE_SPACE": "Lower cpu_kv_cache_gib",
    "out of memory": "Lower gpu_memory_utilization, max_model_len or max_num_seqs, end what else "
    "uses the device, or take a smaller model",
    "gpu_memory_utilization": "Change gpu_memory_utilization, lower max_model_len, or end what "
    "else uses the GPU",
    "No available memory for the cache blocks": "Raise gpu_memory_utilization, lower "
    "max_model_len, or take a smaller model",
    "max_num_batched_tokens": "Raise max_num_batched_tokens, or lower max_model_len",
    "trust_remote_code": "Read the code in the checkpoint, and give trust_remote_code True",
    "tensor_parallel_size": "Change tensor_parallel_size",
    "pipeline_parallel_size": "Change pipeline_parallel_size",
    "data_parallel_size": "Change data_parallel_size",
}


def position(log: Path) -> int:
    """Where the log ends now: ``begin`` of the functions below, as an engine appends to it."""
    return log.stat().st_size if log.exists() else 0


def _lines(log: Path, begin: int) -> list[str]:
    """The log since ``begin``, without colours; empty if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            return COLOUR.sub("", file.read().decode(errors="replace")).splitlines()
    except OSError:
        return []


def compile_s(log: Path, begin: int) -> float | None:
    """How long the engine compiled, s, by what it printed since ``begin``; None if it did not."""
    found = [match for line in _lines(log, begin) if (match := COMPILED.search(line))]
    return float(found[-1].group(1)) if found else None


def late_compilations(log: Path, begin: int) -> tuple[str, ...]:
    """The lines since ``begin`` on kernels compiled and pools grown.

    Returns:
        the first of them, from vLLM's message on, and a line with the number of the others.
    """
    found = [line for line in _lines(log, begin) if LATE.search(line)]
    shown = [line.split("] ", 1)[-1].strip()[:LONGEST_LINE] for line in found]
    if (more := len(shown) - MOST_LINES) > 0:
        shown[MOST_LINES:] = [f"and {more:,} line{'s' * (more > 1)} more"]
    return tuple(shown)


def explain(log: Path, begin: int) -> str:
    """The first error that the log names since ``begin``, with its cure if one is known; the end of
    the log if it names none."""
    lines = _lines(log, begin)
    causes = [found.group(1) for line in lines if (found := CAUSE.search(line))]
    if not causes:
        return "\n".join(deque(lines, TAIL_LINES)).rstrip()
    cures = [cure for words, cure in CURES.items() if words.lower() in causes[0].lower()]
    return f"Its log says: {causes[0].rstrip('.')}." + "".join(f" {cure}." for cure in cures[:1])
