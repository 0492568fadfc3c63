"""What would make a test valid that LoadGen does not call valid."""

from loadgen_study.findings.queries import early_stopping, errors, limit
from loadgen_study.results.test import Test
from loadgen_study.words import count


def what_would_make_valid(test: Test) -> dict[str, str]:
    """What LoadGen (and errors that it only logs) asks of a valid test; empty if this is one.

    Returns:
        sentences by an id each, that of a finding if one describes the fault.
    """
    result = test.result
    if result.verdict == "VALID" and not result.num_errors:
        return {}
    if not result.complete:
        return {"status": f"The run is {result.status}: run it to its end."}
    queries, log = len(test.latencies), result.loadgen_results
    logged = errors(test)
    steps = {}
    if logged:
        cure = f"Remove the cause of what LoadGen logged: {logged.evidence}."
        steps["loadgen-errors"] = cure
    if log.min_duration_met is False:
        steps["min-duration"] = _longer(test)
    least = result.effective_settings.min_query_count or 0
    if log.min_queries_met is False and queries < least:
        more = count(least - queries, "more query")
        steps["min-queries"] = f"Issue {more}: {least:,} are required."
    faults = {
        "ttft-limit": limit(test, "ttft"),
        "tpot-limit": limit(test, "tpot"),
        "early-stopping": early_stopping(test),
    }
    for id, fault in faults.items():
        if fault and fault.severity == "problem":
            steps[id] = f"{fault.title}: {fault.evidence}. {fault.action}"
    return steps or {"log": "LoadGen gives its reasons in the summary log."}


def _longer(test: Test) -> str:
    """By how much the test was too short, on LoadGen's basis, and how it gets longer."""
    traits = test.result.scenario_traits
    asked_s = (test.result.effective_settings.min_duration_ms or 0) / 1e3
    lasted_s = float(test.latencies[traits.lasts_until].max())
    latency_ms, rate = test.metrics.latency_ms.mean, test.metrics.samples_per_s
    # LoadGen plans its queries from these before it starts.
    near = {"target_latency_ms": f"{latency_ms:.0f} ms", "target_qps": f"{rate:.3g} queries/s"}
    name = traits.sized_by
    cure = f"set {name} near the {near[name]} of this run" if name in near else f"raise {name}"
    return (
        f"The test must last {asked_s:,.0f} s and lasted {lasted_s:,.1f} s, "
        f"{asked_s - lasted_s:,.1f} s too short: {cure}."
    )
