"""``target_qps: measured``: a rate from the machine's own, and the capacity between two rates.

The accuracy test has all samples in the system at once: its rate is the batch rate, and its steps
tell what a Server test at a share of it is expected to take (analysis/batching.py). The first test
is at the highest share that is expected to keep the limits; one or two more at other rates leave
the capacity between one that is VALID and one that is not. A search (``auto``, runs/peak.py)
narrows that down and takes longer.
"""

from collections.abc import Callable

import numpy as np

from loadgen_study.analysis.batching import simulated, step_costs
from loadgen_study.params import RunParams
from loadgen_study.results.test import Test
from loadgen_study.runs import peak
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.search import bounds, next_bracket
from loadgen_study.words import per_s
from vllm_loadgen.harness.loadgen import expected_queries, official_settings, server_schedule_ns

# Rates that are simulated, of the batch rate: from what leaves room for bursts down to where a test
# takes too long.
SHARES = 0.6 * 0.92 ** np.arange(12)
# Of the limits: measured tails were up to a third longer than simulated ones.
ROOM = 0.75
# No further rate is tried once the tests have taken so long.
BUDGET_S = 100.0


def measured_rate(run: LiveRun, say: Callable[[str], object] = print) -> float:
    """The machine's batch rate, queries/s: of the accuracy test, or of a short Offline test."""
    if batch := run.read().batch:
        return batch.samples_per_s
    say("batch rate: all samples at once (Offline)")
    changes = peak.guess_changes(run.params, len(run.samples))
    return run.once("peak/offline", "performance", **changes).metrics.samples_per_s


def find_rate(run: LiveRun, say: Callable[[str], object] = print) -> Test:
    """The performance test at a rate that was not given; a finished one is not made again.

    Server tries rates around the capacity. Offline is sized by the batch rate. A server that is
    reached by HTTP gets no more than the default rate: its user gave none.
    """
    found = run.read()
    if found.finished("performance"):
        return run.once("performance", "performance")
    traits = run.params.scenario_traits
    if run.params.engine_traits.over_http:
        rate = RunParams().rate
    elif traits.limited:
        return find_bracket(run, say)
    else:
        rate = measured_rate(run, say) if traits.at_once else RunParams().rate
    return run.once("performance", "performance", target_qps=float(f"{rate:.3g}"))


def find_bracket(run: LiveRun, say: Callable[[str], object] = print) -> Test:
    """The performance test at a measured rate: the highest that is VALID of up to three.

    If none is, it is the lowest one. The course goes to peak.json, as a search's does.

    Args:
        say: takes a line before and after each test.
    """
    batch = measured_rate(run, say)
    start = expected_rate(run, batch)
    probes = peak.resumed(run)
    while (rate := next_bracket(probes, start)) is not None:
        if sum(probe.duration_s for probe in probes) > BUDGET_S:
            break
        say(f"{per_s(rate)}: a full test")
        test = run.perform("performance", peak.next_name(run), target_qps=rate)
        probes.append(peak.probe_of(test))
        peak.note(run, batch, probes, confirmed=False)
        say(f"{per_s(rate)}: {test.result.verdict}")
    best = bounds(probes)[0] or min(probe.qps for probe in probes)
    tests = run.read().finished_tests(peak.PROBES)
    run.rename(
        next(name for name, test in tests.items() if test.params.rate == best), "performance"
    )
    peak.note(run, batch, probes, confirmed=bounds(probes)[0] == best)
    return run.read().test("performance")


def expected_rate(run: LiveRun, batch_per_s: float) -> float:
    """The highest of ``SHARES`` of the batch rate that is expected to keep the limits, queries/s.

    The accuracy test's steps tell what a batch takes, and LoadGen's schedule when queries are due.
    Without its steps, or where no rate is expected to keep them, the first or the last of them.
    """
    found, rates = run.read(), batch_per_s * SHARES
    if not found.finished("accuracy"):
        return float(rates[0])
    test = found.test("accuracy")
    if (costs := step_costs(test.replica_steps)) is None:
        return float(rates[0])
    limits_s = {f"{name}_s": ms / 1000 for name, ms in test.limits_ms.items() if ms}
    tokens = test.latencies["output_tokens"].to_numpy()
    for rate in rates:
        params = run.params.changed(target_qps=float(rate))
        queries = expected_queries(params, len(run.samples), "performance")
        due_s = server_schedule_ns(official_settings(params).schedule_rng_seed, rate, queries) / 1e9
        expected = simulated(due_s, np.resize(tokens, queries), costs)
        if all(expected[name].max() <= ROOM * limit_s for name, limit_s in limits_s.items()):
            return float(rate)
    return float(rates[-1])
