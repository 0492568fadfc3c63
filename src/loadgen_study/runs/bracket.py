"""``target_qps: measured``: a rate from the machine's own, and the capacity between two rates.

The accuracy test has all samples in the system at once: its rate is the batch rate. A Server test
at a share of it is short and likely to keep the limits; one or two more at higher or lower rates
leave the capacity between one that is VALID and one that is not. A search (``auto``, runs/peak.py)
narrows that down and takes longer.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from loadgen_study.analysis.metrics import metrics
from loadgen_study.params import RunParams
from loadgen_study.results.test import Test
from loadgen_study.runs import peak
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.search import bounds, next_bracket
from loadgen_study.words import per_s

# Of the batch rate: what leaves room for arrivals that come in bursts.
SHARE = 0.6
# Of the limit on TPOT: its mean is near so much of its p90 in an open-loop test (tests/golden).
MEAN_SHARE = 0.65
# No further rate is tried once the tests have taken so long.
BUDGET_S = 100.0


def measured_rate(run: LiveRun, say: Callable[[str], object] = print) -> float:
    """The machine's batch rate, queries/s: of the accuracy test, or of a short Offline test."""
    found = run.read()
    if found.finished("accuracy") and not found.test("accuracy").result.resumed_samples:
        return metrics(found.test("accuracy").latencies, "Offline").samples_per_s
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
    start = min(SHARE * batch, _within_tpot(run, batch))
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


def _within_tpot(run: LiveRun, batch: float) -> float:
    """The rate at which the mean TPOT is expected to be ``MEAN_SHARE`` of its limit, queries/s.

    With a decode step of a + b n seconds for n queries, a prefill of p seconds and g tokens an
    answer, TPOT at rate r is (a + b n) / (1 - r p), where n = r g TPOT (Little's law). Infinite
    where the accuracy test has no steps to read this from.
    """
    found = run.read()
    if not found.finished("accuracy"):
        return math.inf
    test = found.test("accuracy")
    limit_s = test.limits_ms["tpot"] / 1000 * MEAN_SHARE
    costs = step_costs(test.replica_steps)
    if costs is None or not limit_s:
        return math.inf
    base_s, per_query_s, prefill_s = costs
    tokens = float(test.latencies["output_tokens"].mean())
    rate = (1 - base_s / limit_s) / (prefill_s + per_query_s * tokens)
    # A limit that one query alone hardly keeps is judged at a rate that ends within the day.
    return max(rate, batch / 4)


def step_costs(steps: pd.DataFrame) -> tuple[float, float, float] | None:
    """What steps cost: a decode step without queries, each query in it, a prompt's prefill, s.

    Args:
        steps: ``Test.replica_steps`` of one engine.

    Returns:
        None of an engine whose steps are not known, or are all alike.
    """
    if "prefill_tokens" not in steps or ("replica" in steps and steps["replica"].nunique() > 1):
        return None
    lasted_s = steps["time_s"].diff()
    decode = (steps["prefill_tokens"] == 0) & (steps["decode_tokens"] > 0) & lasted_s.notna()
    if steps.loc[decode, "decode_tokens"].nunique() < 3:
        return None
    per_query_s, base_s = np.polyfit(steps.loc[decode, "decode_tokens"], lasted_s[decode], 1)
    prefill = steps["prefill_tokens"] > 0
    return (
        float(base_s),
        float(per_query_s),
        float(lasted_s[prefill].sum() / steps["first_tokens"].sum()),
    )
