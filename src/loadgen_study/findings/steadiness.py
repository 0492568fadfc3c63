"""Whether the engine was warm, kept its pace and its options, and a test reached its plateau."""

import pandas as pd

from loadgen_study.analysis.steady import NotSteady, Steady
from loadgen_study.findings.finding import Finding, Found, finding
from loadgen_study.results.test import Test
from loadgen_study.words import count
from vllm_loadgen.records.engine import EngineFacts

# Of an Offline test's time: more than tests of one setting differ by anyway.
ENDS_SHARE = 0.05


@finding(
    "late-kernels",
    "problem",
    "The engine made kernels or grew its pools during the test",
    needs=("test",),
    doubts=True,
)
def _late_compilations(test: Test) -> Found:
    if not (lines := test.result.late_compilations):
        return None
    return (
        f"its log says between the test's begin and its end: {'; '.join(lines)}",
        "Run again, with more before the clock starts (warmup_queries, warmup_max_s).",
    )


@finding(
    "cold-engine",
    "note",
    "The warm-up ended before the engine was known to be warm",
    needs=("test",),
)
def _not_warm(test: Test) -> Found:
    warmup = test.result.warmup
    if warmup is None or warmup.steady is not False:
        return None
    rounds = ", ".join(f"{each.tokens_per_s:,.1f} with {each.queries}" for each in warmup.rounds)
    return (
        f"{count(len(warmup.rounds), 'round')} made these tokens/s, by queries at once: {rounds}; "
        f"the test was expected to reach {warmup.batch}",
        f"Raise warmup_max_s above {test.params.warmup_max_s:g}: the first test of an engine that "
        "is not warm may be a tenth slower than the next ones.",
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
    if shift.after > shift.before:
        return Finding(
            "problem",
            "The test began slower than it went on",
            evidence,
            "Run again, with more before the clock starts (warmup_queries, warmup_max_s).",
            doubts=True,
        )
    return Finding(
        "problem",
        "The engine slowed down during the test",
        evidence,
        "See to what else ran on the machine, and to its temperature.",
        doubts=True,
    )


@finding(
    "no-steady-state", "note", "There is no steady state in this test", needs=("test", "steps")
)
def _no_plateau(test: Test, _: pd.DataFrame) -> Found:
    found = test.steady
    if not test.result.scenario_traits.at_once or isinstance(found, Steady):
        return None
    return (
        found.reason,
        "Raise min_query_count to several times the batch: this rate is that of a batch that "
        "fills and empties, and a longer test has a higher one.",
    )


@finding(
    "ramp-and-drain",
    "note",
    "Filling and emptying the batch cost part of the rate",
    needs=("test",),
)
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
        "Raise min_query_count: a longer test has less of it; longest_first shortens the end.",
    )


@finding(
    "changed-options", "note", "The engine made something else of an option", needs=("engine",)
)
def _options(engine: EngineFacts) -> Found:
    """Options that the engine took and made something else of."""
    made = engine.effective_options
    others = [
        f"{name} = {given!r} became {made[name]!r}"
        for name, given in engine.options.items()
        if name in made and given not in (made[name], "auto")
    ]
    if not others:
        return None
    return (
        "; ".join(others),
        "Leave it out: it was not followed, and the engine may not have said so.",
    )
