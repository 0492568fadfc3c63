"""The highest rate that LoadGen calls VALID: bracketed, bisected, confirmed.

A search resumes: what was finished under the same ``run_name`` is not made again.
"""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from vllm_loadgen.analysis.words import count
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.facts.scores import Peak, Probe
from vllm_loadgen.params import RunParams
from vllm_loadgen.results.run import Run
from vllm_loadgen.results.test import Test
from vllm_loadgen.rules.verdict import effective_verdict
from vllm_loadgen.runs.live import LiveRun

# The search ends when the lowest rate that fails is this multiple of the highest that holds.
PRECISION = 1.05
GROWTH = 1.5
# A first guess, on the low side: a search that begins with a rate that holds is the shorter.
SERVER_SHARE = 0.7
# A rate so far below the first guess is no rate worth finding.
HOPELESS = 50
PROBE_MS = 60_000
PROBES = "peak/[0-9]*"


def bounds(probes: Sequence[Probe]) -> tuple[float, float]:
    """Highest rate that held and lowest that failed above it; 0 and infinity if there is none.

    A rate that held above one that failed is chance, and does not count.
    """
    high = min((probe.qps for probe in probes if not probe.valid), default=math.inf)
    return max((p.qps for p in probes if p.valid and p.qps < high), default=0.0), high


def next_rate(probes: Sequence[Probe], start: float) -> float | None:
    """The rate to try next: bracket from ``start``, then bisect; None when the peak is known.

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
        return None
    else:
        rate = math.sqrt(low * high)
    if rate < start / HOPELESS:
        raise BenchmarkError(
            f"target_qps = 'auto': not even {high:.3g} queries/s keep the limits on this machine. "
            "Raise ttft_limit_ms or tpot_limit_ms, or take a smaller model."
        )
    return float(f"{rate:.4g}")


def probes_left(probes: Sequence[Probe]) -> int:
    """How many more probes the bisection takes at most; one more while it still brackets."""
    low, high = bounds(probes)
    ratio = high / low if low and not math.isinf(high) else GROWTH
    # Each probe halves the interval on a logarithmic scale.
    return max(0, math.ceil(math.log2(math.log(ratio) / math.log(PRECISION)))) + (
        not low or math.isinf(high)
    )


def find_peak(run: LiveRun, say: Callable[[str], object] = print) -> Test:
    """The highest rate that LoadGen calls VALID, confirmed by the full performance test.

    The first guess comes from a short Offline test. Probes are shorter than the full test, so a
    peak that does not hold in it is taken back into the search. The course goes to peak.json.

    Args:
        say: takes a line about each probe.

    Raises:
        BenchmarkError: if no rate keeps the limits.
    """
    offline = run.once("peak/offline", scenario="Offline", target_qps=1.0, min_duration_ms=1)
    capacity = offline.metrics.samples_per_s
    probes = _resumed(run)
    while True:
        rate = next_rate(probes, SERVER_SHARE * capacity)
        full = rate is None
        if rate is None:
            rate = bounds(probes)[0]
            test = run.once("performance", target_qps=rate)
        else:
            short = _probe_ms(run.params)
            name = _next_name(run)
            test = run.perform("performance", name, target_qps=rate, min_duration_ms=short)
        probes.append(_probe(test))
        confirmed = full and probes[-1].valid
        _note(run, capacity, probes, confirmed)
        say(_line(probes, full))
        if confirmed:
            return test
        if full:
            # Nothing measured is lost: it becomes one of the probes.
            run.rename("performance", _next_name(run))


def _line(probes: Sequence[Probe], full: bool) -> str:
    last, left = probes[-1], probes_left(probes)
    mean_s = sum(probe.duration_s for probe in probes) / len(probes)
    text = f"{last.qps:.4g} queries/s: {'VALID' if last.valid else 'INVALID'}"
    if full:
        return f"{text} in the full test" + ("" if last.valid else ", so the search goes on")
    minutes = max(1, round(mean_s * (left + 1) / 60))
    return f"{text}; at most {left} more probes and the full test, about {minutes} min"


def _resumed(run: LiveRun) -> list[Probe]:
    """What an earlier search under this run_name found, if it was asked as this one is."""
    found = run.read()
    for name, test in found.finished_tests(PROBES).items():
        asked = run.params.changed(target_qps=test.params.rate)
        # A probe is shorter than the full test, which may lie among them.
        shorter = _probe_ms(run.params)
        if test.params.min_duration_ms == shorter:
            asked = asked.changed(min_duration_ms=shorter)
        run.check_same(name, test, asked)
    probes = finished_probes(found)
    if probes:
        print(f"{count(len(probes), 'probe')} of an earlier search reused")
    return probes


def _probe_ms(params: RunParams) -> int:
    return min(params.min_duration_ms or PROBE_MS, PROBE_MS)


def _next_name(run: LiveRun) -> str:
    number = 1
    while (run.folder / f"peak/{number:02d}").exists():
        number += 1
    return f"peak/{number:02d}"


def finished_probes(run: Run) -> list[Probe]:
    """The probes of a search that came to their end, in their order."""
    return [_probe(test) for test in run.finished_tests(PROBES).values()]


def _probe(test: Test) -> Probe:
    valid = effective_verdict(test)[0] == "VALID"
    return Probe(qps=test.params.rate, valid=valid, duration_s=test.result.duration_s)


def _note(run: LiveRun, capacity: float, probes: Sequence[Probe], confirmed: bool) -> None:
    low, high = bounds(probes)
    Peak(
        offline_samples_per_s=capacity,
        highest_valid_qps=low,
        lowest_invalid_qps=None if math.isinf(high) else high,
        confirmed=confirmed,
        probes=tuple(probes),
    ).write(run.folder / "peak.json")


def peak_table(run: Run) -> pd.DataFrame:
    """The probes of a search in their order; empty if there was none."""
    if run.peak is None:
        return pd.DataFrame()
    rows = [
        {
            "queries/s": probe.qps,
            "verdict": "VALID" if probe.valid else "INVALID",
            "s": probe.duration_s,
        }
        for probe in run.peak.probes
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="Probe"))
