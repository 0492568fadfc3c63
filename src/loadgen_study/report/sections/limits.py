"""The run against the machine's measured limits: the roofline."""

import math
from collections.abc import Iterator

from loadgen_study.analysis.anatomy import Shares
from loadgen_study.analysis.roofline import Roofline, say_share
from loadgen_study.prose import render
from loadgen_study.results.run import Run


def text(run: Run) -> str:
    """Decode and prefill as shares of the limits; or why there are none."""
    found, shares = run.roofline, run.shares
    if found is None or shares is None:
        return render(
            "report/sections/no_limits",
            served=not run.params.engine_traits.started_here,
            modelled=run.params.engine_traits.runs_model,
            measured=found is not None or run.machine is not None,
            missing=run.model.not_known,
            known=found is not None,
        )
    return render(
        "report/sections/limits",
        found=found,
        dtype=run.model.dtype,
        steps_at_once=run.steps_at_once,
        step_gb=found.decode_limit_ms * found.bandwidth_gb_s / 1e3,
        works=list(_works(shares, found)),
    )


def _works(found: Shares, limits: Roofline) -> Iterator[tuple[str, str, str]]:
    """Name of decode and prefill, share of the limit, and what else the latency includes."""
    decode = f"Decode steps ({limits.batch:.1f} queries each)"
    for name, work, others in (
        (decode, found.decode, "other queries' prefills"),
        ("Prefill steps", found.prefill, "other queries' prompts"),
    ):
        if math.isnan(work.share):
            continue
        bound = "compute" if work.computing else "memory-bandwidth"
        of_limit = "" if work.too_low else f" of the {bound} limit"
        yield name, say_share(work.share) + of_limit, "" if found.from_steps else others
