"""Rates, whether a queue grew, costs, and the test between its ramp and its drain."""

import math

import pandas as pd

from loadgen_study.analysis.steady import NotSteady
from loadgen_study.findings.overload import issued_per_s, offered, overloaded
from loadgen_study.findings.queries import broken_limits
from loadgen_study.prose import render
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.words import fixed


def text(run: Run, test: Test) -> str:
    """Rates of a Server test, and what the completed rate costs."""
    traits, confirmed = test.result.scenario_traits, run.peak is not None and run.peak.confirmed
    rates = _rates_text(test, confirmed) if traits.scheduled else ""
    held = traits.at_once or confirmed
    return "\n\n".join(filter(None, [rates, _cost_text(run, test, held)]))


def _rates_text(test: Test, confirmed: bool) -> str:
    due_s = test.latencies["scheduled_s"]
    return render(
        "report/sections/throughput",
        metrics=test.metrics,
        load=test.load,
        target_qps=None if isinstance(test.params.target_qps, str) else test.params.rate,
        issued_per_s=issued_per_s(test),
        offered=offered(test),
        overloaded=overloaded(test),
        broken=[name.upper() for name in broken_limits(test)],
        confirmed=confirmed,
        drawn_s=None if test.metrics.due_per_s is None else float(due_s.max() - due_s.min()),
    )


def _cost_text(run: Run, test: Test, held: bool) -> str:
    """Time, price and energy; the time only of a rate that the system can hold."""
    scheduled, samples = test.result.scenario_traits.scheduled, run.params.rules.samples
    rate = test.load.arrivals_per_s if scheduled else test.metrics.samples_per_s
    watts = test.energy.watts if test.energy else {}
    limits = test.machine or run.machine
    idle = limits.idle_power_w if limits else {}
    return render(
        "report/sections/cost",
        samples=samples,
        hours=(samples / rate / 3600 if rate else math.inf) if held else None,
        price=test.price(run.params.price_per_hour),
        price_per_hour=run.params.price_per_hour,
        energy=test.energy,
        watts=[f"{name} {fixed(watt, 0)} W" for name, watt in watts.items()],
        steady=test.steady_energy(idle),
        metered=test.telemetry.empty or test.metered,
    )


def steady_text(test: Test) -> str:
    """The test between its ramp and its drain, or why it has no steady state."""
    found = test.steady
    return render(
        "report/sections/steady",
        steady=found,
        why_not=found.reason if isinstance(found, NotSteady) else "",
        overloaded=overloaded(test),
        traits=test.result.scenario_traits,
    )


def steady_table(test: Test) -> pd.DataFrame:
    """The whole test and its steady state; empty without one."""
    found, metrics = test.steady, test.metrics
    if isinstance(found, NotSteady):
        return pd.DataFrame()
    figures = {
        "seconds": (metrics.duration_s, found.end_s - found.begin_s),
        "queries answered": (metrics.completed, found.queries),
        "at once": (test.load.mean_served, found.batch),
        "tokens/s": (metrics.tokens_per_s, found.tokens_per_s),
        "mean TPOT, ms": (metrics.tpot_ms.mean, found.tpot_ms),
    }
    shown = {
        name: pair if name == "queries answered" else [f"{value:.1f}" for value in pair]
        for name, pair in figures.items()
    }
    parts = pd.Index(["The whole test", "Its steady state"], name="Part")
    return pd.DataFrame(shown, index=parts)
