"""Which rate a search tries next, from the tests that it has made; pure.

LoadGen's VALID is sure: if the rate were too high, at most one test in a hundred would pass (its
early stopping). INVALID only says that the limits were not shown to be kept: close to the peak, a
rate that keeps them often fails by chance. So

- a rate fails if more of its tests failed than held. One failure moves the search down;
- before a peak is accepted, the lowest rate that failed is tried again if it failed only once. If
  it then holds, the search goes on upward from it;
- a peak whose full test fails once, although its probe held, is tried again too;
- a failure that is not chance (``Probe.conclusive``) is final.
"""

import math
from collections.abc import Sequence

from loadgen_study.facts.scores import Probe
from vllm_loadgen.errors import BenchmarkError

# The search ends when the lowest rate that fails is this multiple of the highest that holds.
PRECISION = 1.05
GROWTH = 1.5
# A rate this many times below the first guess is not worth finding.
HOPELESS = 50
# Tests of ``target_qps: measured``, which must end within minutes.
MOST_BRACKETING = 3


def _at(probes: Sequence[Probe], qps: float) -> tuple[int, int, bool]:
    """How many tests of this rate held and failed, and whether one failed for sure."""
    tests = [probe for probe in probes if probe.qps == qps]
    held = sum(probe.valid for probe in tests)
    return held, len(tests) - held, any(probe.conclusive and not probe.valid for probe in tests)


def _fails(probes: Sequence[Probe], qps: float) -> bool:
    held, failed, sure = _at(probes, qps)
    return sure or failed > held


def _doubtful(probes: Sequence[Probe], qps: float) -> bool:
    """Whether this rate counts as failing by a single test that may be chance."""
    _, failed, sure = _at(probes, qps)
    return failed == 1 and not sure


def bounds(probes: Sequence[Probe]) -> tuple[float, float]:
    """Highest rate that holds and lowest that fails above it; 0 and infinity if there is none.

    A rate that held above one that failed is chance, and does not count.
    """
    rates = {probe.qps for probe in probes}
    high = min((qps for qps in rates if _fails(probes, qps)), default=math.inf)
    return max((qps for qps in rates if qps < high), default=0.0), high


def next_rate(probes: Sequence[Probe], start: float) -> float | None:
    """The rate to try next: bracket from ``start``, bisect, doubt; None when the peak is known.

    Raises:
        BenchmarkError: if no rate worth finding holds.
    """
    low, high = bounds(probes)
    if not probes:
        rate = start
    elif not low:
        rate = high / GROWTH
    elif math.isinf(high):
        rate = low * GROWTH
    elif high / low <= PRECISION:
        return high if _doubtful(probes, high) else None
    else:
        rate = math.sqrt(low * high)
    if rate < start / HOPELESS:
        raise BenchmarkError(
            f"target_qps = 'auto': not even {high:.3g} queries/s keep the limits on this machine. "
            "Raise ttft_limit_ms or tpot_limit_ms, or take a smaller model."
        )
    return float(f"{rate:.4g}")


def next_bracket(probes: Sequence[Probe], start: float) -> float | None:
    """The rate to try next; None once one rate holds and one above it fails.

    None also after ``MOST_BRACKETING`` tests: the capacity then lies above or below all of them.
    """
    low, high = bounds(probes)
    if len(probes) == MOST_BRACKETING or (low and not math.isinf(high)):
        return None
    rate = start if not probes else low * GROWTH if low else high / GROWTH
    return float(f"{rate:.3g}")


def probes_left(probes: Sequence[Probe]) -> int:
    """How many more probes it takes if no rate that holds fails; one more while it brackets.

    Each halves the interval on a logarithmic scale; the last that fails may be tried again.
    """
    low, high = bounds(probes)
    bracketing = not low or math.isinf(high)
    ratio = GROWTH if bracketing else high / low
    halvings = max(0, math.ceil(math.log2(math.log(ratio) / math.log(PRECISION))))
    again = halvings > 0 or _doubtful(probes, high)
    return halvings + bracketing + again
