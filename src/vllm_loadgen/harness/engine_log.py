"""What an engine's log says of its failure: vLLM's own error names no cause, its log does."""

import re
from collections import deque
from pathlib import Path

TAIL_LINES = 15
# "(EngineCore pid=7) ERROR 11-25 02:44:23 [core.py:1510] ValueError: no room"
CAUSE = re.compile(r"\bERROR\b.*?\]\s+((?:[\w.]*(?:Error|Exception|Interrupt)): \S.*)")
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
    "tensor_parallel_size": "Change tensor_parallel_size",
}


def position(log: Path) -> int:
    """Where the log ends now, to be given to ``explain``; an engine adds to what is there."""
    return log.stat().st_size if log.exists() else 0


def explain(log: Path, begin: int) -> str:
    """The first error that the log names since ``begin``, with its cure if one is known; the end of
    the log if it names none."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    causes = [found.group(1) for line in lines if (found := CAUSE.search(line))]
    if not causes:
        return "\n".join(deque(lines, TAIL_LINES)).rstrip()
    cures = [cure for words, cure in CURES.items() if words.lower() in causes[0].lower()]
    return f"Its log says: {causes[0].rstrip('.')}." + "".join(f" {cure}." for cure in cures[:1])
