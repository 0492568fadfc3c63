"""What a machine can do at most: memory bandwidth and matrix rate, measured."""

import time
from collections.abc import Callable
from functools import partial

from vllm_loadgen.facts.inputs import MachineLimits

BENCH_S = 1.0


def measure_limits(dtypes: tuple[str, ...]) -> MachineLimits:
    """Measure memory bandwidth, and the matrix rate in these types; takes some seconds."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 2**30 if device == "cuda" else 2**27  # several times any cache
    n = 8192 if device == "cuda" else 1024
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copies_per_s = _rate(partial(target.copy_, source), device)
    rates = {}
    for dtype in dtypes:
        a, b = (torch.randn(n, n, device=device).to(getattr(torch, dtype)) for _ in range(2))
        products_per_s = _rate(partial(torch.mm, a, b), device)
        rates[dtype] = round(products_per_s * 2 * n**3 / 1e12, 4)
    return MachineLimits(
        device=device,
        threads=torch.get_num_threads(),
        memory_bandwidth_gb_s=round(copies_per_s * 2 * size / 1e9, 2),
        matrix_tflop_s=rates,
    )


def _rate(work: Callable[[], object], device: str) -> float:
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
