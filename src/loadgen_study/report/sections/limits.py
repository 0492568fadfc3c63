"""The run against the machine's measured limits: the roofline."""

from loadgen_study.analysis.roofline import Roofline
from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test


def no_limits(run: Run) -> str:
    """Why there is no roofline; empty if there is one."""
    return render(
        "report/sections/no_limits",
        served=not run.params.engine_traits.started_here,
        measured=run.roofline is not None or run.machine is not None,
        missing=run.model.not_known,
        known=run.roofline is not None,
    )


def nearer_limit(found: Roofline, tpot_ms: float) -> tuple[str, float]:
    """What bounds a decode step first, the memory or the arithmetic, and the share of it."""
    computing = found.decode_computing_ms > found.decode_limit_ms
    least_ms = max(found.decode_limit_ms, found.decode_computing_ms)
    return "arithmetic" if computing else "memory", least_ms / tpot_ms


def text(run: Run, test: Test) -> str:
    """Decode and prefill as shares of the roofline; or why there is none."""
    if (found := run.roofline) is None:
        return no_limits(run)
    tpot_ms = test.metrics.tpot_ms.mean
    nearer, share = nearer_limit(found, tpot_ms)
    return render(
        "report/sections/limits",
        found=found,
        dtype=run.model.dtype,
        step_gb=found.decode_limit_ms * found.bandwidth_gb_s / 1e3,
        tpot_ms=tpot_ms,
        roofline="compute" if nearer == "arithmetic" else "memory-bandwidth",
        share=share,
    )
