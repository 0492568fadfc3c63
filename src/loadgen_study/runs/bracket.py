"""``target_qps: measured``: a rate from the machine's own, and the capacity between two rates.

The accuracy test has all samples in the system at once, so its rate is the batch rate, and its
steps predict the latencies of a Server test at a share of it (analysis/batching.py). The first test
is at the highest share that is expected to keep the limits. One or two more bracket the capacity
between a rate that is VALID and one that is not. A search (``auto``, runs/peak.py) narrows that
down and takes longer.
"""

from collections.abc import Callable

import numpy as np

from loadgen_study.analysis.batching import simulated, step_costs
from loadgen_study.analysis.early_stopping import violations_allowed
from loadgen_study.params import RunParams
from loadgen_study.results.test import Test
from loadgen_study.runs import peak
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.search import bounds, next_bracket
from loadgen_study.words import per_s
from vllm_loadgen.harness.loadgen import expected_queries, official_settings, server_schedule_ns

# Shares of the batch rate that are simulated: from one that leaves little room for bursts down to
# one at which a test takes too long.
SHARES = 0.8 * 0.92 ** np.arange(15)
WITHOUT_STEPS = 0.6  # the share tried first where nothing can be simulated
# Of each limit, for the simulated tail: measured TTFTs were 1.0 to 1.4 times the simulated ones,
# TPOTs 0.6 to 0.9 times. A rate that is too high fails in a short test; one that is too low takes a
# long test, and another to find the capacity.
ROOM = {"ttft_s": 0.7, "tpot_s": 1.1}
BUDGET_S = 120.0  # no further rate is tried once the tests have taken this long


def measured_rate(run: LiveRun, say: Callable[[str], object] = print) -> float:
    """The machine's batch rate, queries/s: of the accuracy test, or of a short Offline test."""
    if batch := run.read().batch:
        return batch.samples_per_s
    say("batch rate: all samples at once (Offline)")
    changes = peak.guess_changes(run.params, len(run.samples))
    return run.once("peak/offline", "performance", **changes).metrics.samples_per_s


def find_rate(run: LiveRun, say: Callable[[str], object] = print) -> Test:
    """The performance test at a rate that was not given; a finished one is reused.

    Server tries rates around the capacity. Offline is sized by the batch rate. A server reached by
    HTTP gets the default rate, since its user gave none.
    """
    if run.read().finished("performance"):
        return run.once("performance")
    traits, over_http = run.params.scenario_traits, run.params.engine_traits.over_http
    if traits.limited and not over_http:
        return find_bracket(run, say)
    rate = measured_rate(run, say) if traits.at_once and not over_http else RunParams().rate
    return run.once("performance", target_qps=float(f"{rate:.3g}"))


def find_bracket(run: LiveRun, say: Callable[[str], object] = print) -> Test:
    """The performance test at a measured rate: of up to three, the highest that is VALID.

    If none is VALID, the lowest. The course is written to peak.json, as that of a search.

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
    highest_valid, _ = bounds(probes)
    best = highest_valid or min(probe.qps for probe in probes)
    tests = run.read().finished_tests(peak.PROBES)
    name = next(name for name, test in tests.items() if test.params.rate == best)
    run.rename(name, "performance")
    peak.note(run, batch, probes, confirmed=highest_valid == best)
    return run.read().test("performance")


def expected_rate(run: LiveRun, batch_per_s: float) -> float:
    """The highest of ``SHARES`` of the batch rate that is expected to keep the limits, queries/s.

    By the durations of the accuracy test's steps, LoadGen's schedule of queries, and as many
    queries over a limit as early stopping allows. ``WITHOUT_STEPS`` of the batch rate if these
    steps are not known, the last of ``SHARES`` if no rate is expected to keep the limits.
    """
    found, rates = run.read(), batch_per_s * SHARES
    test = found.test("accuracy") if found.finished("accuracy") else None
    if test is None or (costs := step_costs(test.replica_steps)) is None:
        return WITHOUT_STEPS * batch_per_s
    limits_s = {f"{name}_s": ms / 1000 for name, ms in test.limits_ms.items() if ms}
    tokens = test.latencies["output_tokens"].to_numpy()
    given = run.params.target_latency_percentile
    share = run.params.scenario_traits.percentile if given is None else given
    for rate in rates:
        params = run.params.changed(target_qps=float(rate))
        queries = expected_queries(params, len(run.samples), "performance")
        due_s = server_schedule_ns(official_settings(params).schedule_rng_seed, rate, queries) / 1e9
        expected = simulated(due_s, np.resize(tokens, queries), costs)
        over = max(0, violations_allowed(queries, share))
        tails_s = {name: np.sort(expected[name])[-1 - over] for name in limits_s}
        if all(tails_s[name] <= ROOM[name] * limits_s[name] for name in limits_s):
            return float(rate)
    return float(rates[-1])
