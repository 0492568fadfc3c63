"""Whether a test was offered more than it could serve."""

from vllm_loadgen.analysis.load import Load
from vllm_loadgen.results.test import Test

# A queue that a steady system would not build: this share of arrivals piles up.
GROWTH_SHARE = 0.1
TREND_QUERIES = 10  # fewer tell nothing of a trend
# Between its middle and its last third (analysis.load) a run above capacity gets slower by
# 0.037 of its length at GROWTH_SHARE; half of that is left to chance.
RISE_SHARE = 0.02
# A run of fewer latencies than this is all ramp: queries pile up in it with or without a limit.
RAMP = 5


def overloaded(test: Test) -> bool:
    """Whether queries arrived faster than they were served; False where the run cannot tell.

    A queue that grows while queries arrive is not enough: queries that take long pile up in any
    short run. They must also be getting slower to its end.
    """
    result, load = test.result, test.load
    return (
        result.scenario == "Server"
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
