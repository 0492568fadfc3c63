"""Whether engine and clock were steady, options were kept, and a test reached its plateau."""

import pandas as pd

from loadgen_study.analysis.steady import NotSteady, Steady
from loadgen_study.findings.finding import Finding, Found, finding
from loadgen_study.results.test import Test
from loadgen_study.words import count
from vllm_loadgen.records.engine import EngineFacts

# Of an Offline test's time: more than tests of one setting differ by anyway.
ENDS_SHARE = 0.05
# The system clock may be slewed by 500 ppm (adjtimex), which moves no latency visibly.
SLEWED_SHARE, STEP_MS = 0.001, 10.0
WARM_UP = "Warm up for longer (warmup_queries, warmup_max_s)."


@finding(
    "late-kernels",
    "problem",
    "Kernel compilation or pool growth during the test",
    needs=("test",),
    doubts=True,
)
def _late_compilations(test: Test) -> Found:
    if not (lines := test.result.late_compilations):
        return None
    return f"the engine's log during the test: {'; '.join(lines)}", WARM_UP


@finding("cold-engine", "note", "Warm-up cut short", needs=("test",))
def _not_warm(test: Test) -> Found:
    warmup = test.result.warmup
    if warmup is None or warmup.steady is not False:
        return None
    rounds = ", ".join(f"{each.tokens_per_s:,.1f} with {each.queries}" for each in warmup.rounds)
    return (
        f"tokens/s of {count(len(warmup.rounds), 'round')} by queries at once: {rounds}; "
        f"the expected batch is {warmup.batch}",
        f"Raise warmup_max_s above {test.params.warmup_max_s:g}.",
    )


@finding("clock-step", "problem", "System clock set during the test", needs=("test",), doubts=True)
def _clock_step(test: Test) -> Found:
    moved_ms = test.result.clock_step_ms or 0.0
    if abs(moved_ms) <= max(STEP_MS, SLEWED_SHARE * 1e3 * test.result.duration_s):
        return None
    return (
        f"{moved_ms:+,.0f} ms against the monotonic clock; LoadGen issues and times queries by the "
        "system clock: its latencies of those in flight are wrong, and later ones came early or "
        "late by as much",
        "Run the test again.",
    )


@finding("shifted-pace", needs=("test",))
def _shifted(test: Test) -> Finding | None:
    found = test.steady
    if isinstance(found, NotSteady) or (shift := found.shift) is None:
        return None
    evidence = (
        f"{shift.before:,.1f} tokens/s until {shift.at_s:.0f} s and {shift.after:,.1f} from there; "
        f"the first third of the steady state made {found.thirds[0]:,.1f}, the last "
        f"{found.thirds[1]:,.1f}"
    )
    title, action = "Slowdown during the test", "Check other programs, and the temperature."
    if shift.after > shift.before:
        title, action = "Slow start of the test", WARM_UP
    return Finding("problem", title, evidence, action, doubts=True)


@finding("no-steady-state", "note", "No steady state", needs=("test", "steps"))
def _no_plateau(test: Test, _: pd.DataFrame) -> Found:
    found = test.steady
    if not test.result.scenario_traits.at_once or isinstance(found, Steady):
        return None
    return (
        found.reason,
        "Raise min_query_count to several times the batch: a longer test has a higher rate.",
    )


@finding("ramp-and-drain", "note", "Ramp and drain lower the rate", needs=("test",))
def _ends(test: Test) -> Found:
    found, duration_s = test.steady, test.metrics.duration_s
    if not test.result.scenario_traits.at_once or isinstance(found, NotSteady):
        return None
    lost_s = found.ramp_cost_s + found.drain_cost_s
    if not lost_s > ENDS_SHARE * duration_s:
        return None
    return (
        f"{lost_s:.1f} s of {duration_s:.1f} s: {test.metrics.tokens_per_s:,.1f} tokens/s over the "
        f"whole test, {found.tokens_per_s:,.1f} in its steady state",
        "Raise min_query_count"
        + ("." if test.params.longest_first else ", or set longest_first to shorten the drain."),
    )


@finding("changed-options", "note", "Option changed by the engine", needs=("engine",))
def _options(engine: EngineFacts) -> Found:
    """Options that the engine overrode."""
    made = engine.effective_options
    others = [
        f"{name} = {given!r} became {made[name]!r}"
        for name, given in engine.options.items()
        if name in made and given not in (made[name], "auto")
    ]
    if not others:
        return None
    return "; ".join(others), "Leave it out: the engine did not follow it."
