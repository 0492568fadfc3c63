"""Whether a test was offered its target rate, more than it could serve, or a full batch."""

import math

import pandas as pd

from loadgen_study.analysis.load import Load
from loadgen_study.results.test import Test
from vllm_loadgen.harness.loadgen import offered_share
from vllm_loadgen.records.engine import EngineFacts

# A rate was offered if this share of it was issued: less than a search's precision is missing.
OFFERED_SHARE = 0.95
# A queue that a steady system would not build: this share of arrivals piles up.
GROWTH_SHARE = 0.1
TREND_QUERIES = 10  # fewer show no trend
# Between its middle and its last third (analysis.load) a run above capacity gets slower by
# 0.037 of its length at GROWTH_SHARE; half of that is left to chance.
RISE_SHARE = 0.02
# A run of fewer latencies than this is all ramp: queries pile up in it with or without a limit.
RAMP = 5
# A cache this empty was no reason to wait.
SMALL_CACHE_SHARE = 0.5


def offered(test: Test) -> bool:
    """Whether the harness issued a Server test's queries at the rate that LoadGen drew."""
    # A rate in words is the run's, of a test without parameters of its own.
    if not test.result.scenario_traits.scheduled or isinstance(test.params.target_qps, str):
        return True
    seed = test.result.effective_settings.schedule_rng_seed
    return offered_share(test.params, seed, list(test.latencies["issued_s"])) >= OFFERED_SHARE


def issued_per_s(test: Test) -> float:
    """The rate at which the harness issued the queries, whenever due; NaN if not known."""
    return test.metrics.issued_per_s or math.nan


def overloaded(test: Test) -> bool:
    """Whether queries arrived faster than they were served; False if that is not known.

    A queue that grows while queries arrive is not enough: long queries pile up in any short run.
    They must also get slower towards its end.
    """
    result, load = test.result, test.load
    return (
        result.scenario_traits.scheduled
        and test.metrics.samples >= TREND_QUERIES
        and load.queue_growth_per_s > GROWTH_SHARE * load.arrivals_per_s
        and load.completions_per_s < (1 - GROWTH_SHARE) * load.arrivals_per_s
        and load.served_per_s < load.arrivals_per_s
        and _ever_slower(load)
    )


def _ever_slower(load: Load) -> bool:
    least_s = RISE_SHARE * load.window_s
    if load.queue_rise_s > max(least_s, load.fastest_s / 2):
        return True
    return load.latency_rise_s > least_s and load.window_s > RAMP * load.fastest_s


def full_steps(test: Test, engine: EngineFacts | None) -> pd.DataFrame:
    """The steps in which queries waited for nothing but a place, so that more places would help.

    The batch was at max_num_seqs, and half of the KV cache was free. Empty where that is not known.
    """
    steps = test.replica_steps
    if engine is None or not engine.max_num_seqs or steps.empty:
        return steps.iloc[:0]
    full = (steps["running"] >= engine.max_num_seqs) & (steps["waiting"] > 0)
    return steps[full & (steps["kv_cache_share"] < SMALL_CACHE_SHARE)]
