"""The run against the machine's measured limits: the roofline."""

import math
from typing import NamedTuple

from loadgen_study.analysis.anatomy import Shares, Work
from loadgen_study.analysis.roofline import Roofline, say_share
from loadgen_study.prose import render
from loadgen_study.results.run import Run


def no_limits(run: Run) -> str:
    """Why there is no roofline; empty if there is one."""
    return render(
        "report/sections/no_limits",
        served=not run.params.engine_traits.started_here,
        modelled=run.params.engine_traits.runs_model,
        measured=run.roofline is not None or run.machine is not None,
        missing=run.model.not_known,
        known=run.roofline is not None,
    )


class Shown(NamedTuple):
    """Decode or prefill against its limit."""

    name: str
    text: str  # "28 % of the memory-bandwidth limit"
    holds: str  # what a latency in place of steps holds besides; empty of steps


def works(found: Shares, limits: Roofline) -> list[Shown]:
    """Decode and prefill, as far as there was any."""
    each = [
        (f"Decode steps ({limits.batch:.1f} queries each)", found.decode, "prefills"),
        ("Prefill steps", found.prefill, "prompts"),
    ]
    return [
        Shown(name, _of_limit(work), "" if found.from_steps else f"other queries' {others}")
        for name, work, others in each
        if not math.isnan(work.share)
    ]


def _of_limit(work: Work) -> str:
    share = say_share(work.share)
    if work.too_low:
        return share
    return f"{share} of the {'compute' if work.computing else 'memory-bandwidth'} limit"


def text(run: Run) -> str:
    """Decode and prefill as shares of the limits; or why there are none."""
    found, shares = run.roofline, run.shares
    if found is None or shares is None:
        return no_limits(run)
    return render(
        "report/sections/limits",
        found=found,
        dtype=run.model.dtype,
        steps_at_once=run.steps_at_once,
        step_gb=found.decode_limit_ms * found.bandwidth_gb_s / 1e3,
        works=works(shares, found),
    )
