"""The highest rate that LoadGen calls VALID: bracketed, bisected, doubted, confirmed.

``runs/search.py`` chooses the next rate. A rate that the harness did not offer does not hold,
whatever LoadGen's verdict is. Finished tests of the same ``run_name`` are reused.

LoadGen issues whole passes of the samples: at least 13,368 queries with the official data, which
takes hours at a low rate. So a probe draws from the first samples only, and the full test that
confirms a peak draws from all. The fewer queries, the smaller the share of them that LoadGen allows
over a limit (at p99 none of 459, 0.5 % of 2,010, 0.8 % of 13,368): a probe of few would fail where
the full test holds. So a probe has enough queries that ``ROOM`` of them may be over a limit.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pandas as pd

from loadgen_study.analysis.early_stopping import (
    early_stopping_queries,
    queries_needed,
    significantly_violated,
)
from loadgen_study.facts.scores import Peak, Probe
from loadgen_study.findings.overload import issued_per_s, offered
from loadgen_study.findings.queries import broken_limits, early_stopping
from loadgen_study.params import RunParams
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.verdict import effective_verdict
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.search import bounds, next_rate, probes_left
from loadgen_study.words import change, count, say_duration
from vllm_loadgen.harness.loadgen import expected_queries, official_settings

SERVER_SHARE = 0.7  # of the batch rate, tried first: a search from a rate that holds is shorter
PROBE_MS = 60_000
ROOM = 10  # queries that a probe allows over a limit, unless the full test allows fewer
FEWEST_SAMPLES = 64  # of a probe: fewer are no mix of lengths
GUESS_SAMPLES = 1024  # of the first guess, at most: more only take longer
PROBES = "peak/[0-9]*"
# An Offline test ends with its queries.
OFFLINE = {"scenario": "Offline", "target_qps": 1.0, "min_duration_ms": 1}


def find_peak(run: LiveRun, say: Callable[[str], object] = print) -> Test:
    """The highest rate that LoadGen calls VALID, confirmed by the full performance test.

    The first guess comes from a short Offline test. If a peak does not hold in the full test, the
    search goes on. Its course is written to peak.json.

    Args:
        say: takes a line before each test, with its length, and one after it.

    Raises:
        BenchmarkError: if no rate keeps the limits.
    """
    samples = len(run.samples)
    guess = guess_changes(run.params, samples)
    queries, _ = _size(run, guess)
    say(f"first guess: {count(queries, 'sample')} at once (Offline)")
    capacity = run.once("peak/offline", "performance", **guess).metrics.samples_per_s
    probes = resumed(run)
    while True:
        rate = next_rate(probes, SERVER_SHARE * capacity)
        full = rate is None
        if rate is None:
            rate = bounds(probes)[0]
        changes = {"target_qps": rate} if full else probe_changes(run.params, samples, rate)
        say(_announcement(run, changes, full))
        if full:
            test = run.once("performance", "performance", **changes)
        else:
            test = run.perform("performance", next_name(run), **changes)
        probes.append(probe_of(test))
        confirmed = full and probes[-1].valid
        note(run, capacity, probes, confirmed)
        say(_outcome(run, probes, full))
        if confirmed:
            return test
        if full:
            # It becomes one of the probes.
            run.rename("performance", next_name(run))


def guess_changes(params: RunParams, samples: int) -> dict[str, object]:
    """The changes of a run's parameters for the Offline test of the first guess."""
    if samples <= GUESS_SAMPLES:
        return dict(OFFLINE)
    fewest = min(params.min_query_count or GUESS_SAMPLES, GUESS_SAMPLES)
    return {**OFFLINE, "performance_samples": GUESS_SAMPLES, "min_query_count": fewest}


def probe_changes(params: RunParams, samples: int, rate: float) -> dict[str, object]:
    """The changes of a run's parameters for a probe at this rate: shorter, and not more queries.

    Args:
        samples: in the dataset.
    """
    duration_ms = min(params.min_duration_ms or PROBE_MS, PROBE_MS)
    changes: dict[str, object] = {"target_qps": rate, "min_duration_ms": duration_ms}
    official = official_settings(params)
    share = params.target_latency_percentile or official.server_target_latency_percentile
    needed = max(
        math.ceil(rate * duration_ms / 1000),
        params.min_query_count or official.min_query_count,
        early_stopping_queries(ROOM, share),
    )
    full = expected_queries(params.changed(target_qps=rate), samples, "performance")
    wanted = min(needed, full)
    # As many passes as of all samples, each of no more samples than that needs.
    whole = min(samples, params.performance_samples or params.rules.samples)
    drawn = max(math.ceil(wanted / math.ceil(wanted / whole)), min(FEWEST_SAMPLES, whole))
    if drawn < whole:
        changes["performance_samples"] = drawn
    if expected_queries(params.changed(**changes), samples, "performance") < wanted:
        changes["min_query_count"] = wanted
    return changes


# Messages -----------------------------------------------------------------------------------
def _size(run: LiveRun, changes: Mapping[str, object]) -> tuple[int, float]:
    """Queries of a test, and about how long it takes to issue them, s."""
    params = run.params.changed(**changes)
    queries = expected_queries(params, len(run.samples), "performance")
    return queries, queries / params.rate


def _announcement(run: LiveRun, changes: Mapping[str, object], full: bool) -> str:
    queries, seconds = _size(run, changes)
    drawn, few = changes.get("performance_samples"), ""
    if isinstance(drawn, int):
        lengths = run.samples.prompts.lengths
        mean = lengths[:drawn].mean() / lengths.mean()
        few = f" of the first {drawn:,} samples (length of prompts {change(mean - 1)})"
    what = f"{'the full test' if full else 'a probe'} of {count(queries, 'query')}{few}"
    return f"{changes['target_qps']:.4g} queries/s: {what}, about {say_duration(seconds)}"


def _outcome(run: LiveRun, probes: Sequence[Probe], full: bool) -> str:
    last = probes[-1]
    text = f"{last.qps:.4g} queries/s: {_verdict(last)}"
    if full and not last.valid:
        return f"{text} in the full test, so the search goes on"
    if full:
        limit = harness_limit(probes)
        return f"{text} in the full test" + (f". {limit}" if limit else "")
    left, samples = probes_left(probes), len(run.samples)
    _, probe_s = _size(run, probe_changes(run.params, samples, last.qps))
    queries, full_s = _size(run, {"target_qps": last.qps})
    probes_text = f"about {count(left, 'more probe')} and " if left else ""
    return (
        f"{text}; {probes_text}the full test of {count(queries, 'query')}, "
        f"about {say_duration(left * probe_s + full_s)}"
    )


def _verdict(probe: Probe) -> str:
    if probe.reached_qps is not None:
        return f"not offered, the harness reached {probe.reached_qps:,.4g}"
    if probe.valid:
        return "VALID"
    return f"INVALID: {probe.why}" if probe.why else "INVALID"


def lowest_that_fails(run: Run) -> str:
    """The lowest rate that fails, and why: "6.51 fails: too slow"; empty if none failed."""
    if run.peak is None or (rate := run.peak.lowest_invalid_qps) is None:
        return ""
    reasons = {probe.why for probe in _explained(run) if probe.qps == rate and probe.why}
    # A probe of too few queries does not show that the rate is too high; one that is too slow may.
    why = "too slow" if "too slow" in reasons else next(iter(reasons), "")
    return f"{rate:.4g} fails" + (f": {why}" if why else "")


def harness_limit(probes: Sequence[Probe]) -> str:
    """A sentence if the harness, and not the system, ended the search; else empty."""
    high = bounds(probes)[1]
    reached = [p.reached_qps for p in probes if p.qps == high and p.reached_qps is not None]
    if not reached:
        return ""
    return (
        f"The harness is the limit here, not the system: asked for {high:,.4g} queries/s it "
        f"issued {max(reached):,.4g}."
    )


# The course ---------------------------------------------------------------------------------
def resumed(run: LiveRun) -> list[Probe]:
    """The probes of an earlier search under this run_name.

    Raises:
        ParameterError: if one was made in another way.
    """
    probes = []
    for name, test in run.read().finished_tests(PROBES).items():
        rate = test.params.rate
        changes = probe_changes(run.params, len(run.samples), rate)
        # A full test that did not confirm its rate is kept as a probe.
        if any(getattr(test.params, key) != value for key, value in changes.items()):
            changes = {"target_qps": rate}
        run.check_same(name, test, run.params.changed(**changes))
        probes.append(probe_of(test))
    if probes:
        print(f"{count(len(probes), 'probe')} of an earlier search reused")
    return probes


def next_name(run: LiveRun) -> str:
    """The next probe's folder within the run: "peak/03"."""
    names = (f"peak/{number:02d}" for number in itertools.count(1))
    return next(name for name in names if not (run.folder / name).exists())


def probe_of(test: Test) -> Probe:
    """The result of a test for a search."""
    _, over, share = queries_needed(test.result, test.latencies)
    is_offered = offered(test)
    valid = is_offered and effective_verdict(test).status == "VALID"
    why: Literal["", "too slow", "too few queries"] = ""
    if broken_limits(test):
        why = "too slow"
    elif early_stopping(test):
        why = "too few queries"
    return Probe(
        qps=test.params.rate,
        valid=valid,
        duration_s=test.result.duration_s,
        conclusive=significantly_violated(len(test.latencies), over, share),
        why="" if valid else why,
        reached_qps=None if is_offered else issued_per_s(test),
    )


def note(run: LiveRun, capacity: float, probes: Sequence[Probe], confirmed: bool) -> None:
    """Write the course of a search so far to peak.json; ``capacity`` is the batch rate."""
    low, high = bounds(probes)
    Peak(
        offline_samples_per_s=capacity,
        highest_valid_qps=low,
        lowest_invalid_qps=None if math.isinf(high) else high,
        confirmed=confirmed,
        probes=tuple(probes),
    ).write(run.folder / "peak.json")


def _explained(run: Run) -> list[Probe]:
    """The probes of peak.json; where an earlier version left out why one failed, by its test."""
    tests = map(probe_of, run.finished_tests(PROBES).values())
    known = {probe.qps: probe.why for probe in tests if probe.why}
    return [
        one if one.valid else one.model_copy(update={"why": one.why or known.get(one.qps, "")})
        for one in (run.peak.probes if run.peak else ())
    ]


def peak_table(run: Run) -> pd.DataFrame:
    """The probes of a search in their order; empty if there was none."""
    if run.peak is None:
        return pd.DataFrame()
    rows = [
        {"queries/s": probe.qps, "verdict": _verdict(probe), "duration, s": probe.duration_s}
        for probe in _explained(run)
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="Probe"))
