"""Other limits tried by two sliders, in the page and in a notebook, without a kernel.

Vega-Lite counts and compares; Python computes the one number that LoadGen's rule needs: how many of
these queries may be over a limit.
"""

import math
from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from loadgen_study.analysis.early_stopping import (
    early_stopping_queries,
    judged_share,
    tightest_ms,
    violations_allowed,
)
from loadgen_study.analysis.metrics import answered
from loadgen_study.prose import render
from loadgen_study.report.display import Section
from loadgen_study.report.figures.base import BLUE, RED, WIDE, Figure, source, tooltip
from loadgen_study.report.figures.queries import queries
from loadgen_study.results.test import Test
from loadgen_study.rules.verdict import effective_verdict
from loadgen_study.words import count

POSITIONS = 1000  # of a slider, at most
NAMES = ("ttft", "tpot")


def what_if(test: Test) -> Section:
    """Sliders for the limits on TTFT and TPOT, their results, and the tightest that hold."""
    if not test.result.scenario_traits.limited:
        return Section(
            "Only a Server test is judged by limits on TTFT and TPOT; this one is "
            f"{test.result.scenario}."
        )
    if test.latencies["ttft_ms"].isna().all():
        return Section("No query of this test has a first token.")
    return Section(chart(test), caption(test))


def slider(test: Test, name: str) -> tuple[float, float, float]:
    """The step, the end and the start of a slider, ms; the start is the test's own limit.

    Without a limit it starts at its end.
    """
    own, most = test.limits_ms[name], float(test.latencies[f"{name}_ms"].max())
    reach = max(1.2 * (0 if math.isnan(most) else most), 1.5 * own, 1.0) / POSITIONS
    decade = 10.0 ** math.floor(math.log10(reach))
    step = next(decade * by for by in (1, 2, 5, 10) if decade * by >= reach * (1 - 1e-9))
    end = POSITIONS * step
    return round(step, 10), round(end, 10), round(step * max(1, round((own or end) / step)), 10)


def blocked(test: Test) -> str:
    """What keeps the test from being VALID whatever the limits are; empty if nothing does."""
    valid = test.result.model_copy(update={"verdict": "VALID"})
    verdict = effective_verdict(replace(test, result=valid))
    if verdict.status == "NOT VALID":
        return verdict.text
    log, share = test.result.loadgen_results, judged_share(test.result)
    if log.min_duration_met is False:
        return "INVALID: the test was too short"
    if violations_allowed(len(test.latencies), share) < 0:
        needs = early_stopping_queries(0, share)
        return f"INVALID: p{share * 100:g} needs {count(needs, 'query')}"
    return "INVALID: too few queries" if log.min_queries_met is False else ""


def counted(test: Test) -> pd.DataFrame:
    """All queries as the sliders count them: ttft and tpot in steps, rounded up, and answered.

    Rounding up loses nothing: a query over a limit of n steps is over it before and after.
    """
    frame = test.latencies
    steps = {name: slider(test, name)[0] for name in NAMES}
    columns = {
        name: np.ceil(frame[f"{name}_ms"] / step - 1e-10).astype("Int64")
        for name, step in steps.items()
    }
    return pd.DataFrame({**columns, "answered": answered(frame).astype(int)})


def chart(test: Test) -> Figure:
    """The sliders, their results, and each query against them."""
    drawn, table = queries(test), counted(test)
    limits = [_parameter(test, name) for name in NAMES]
    both = alt.vconcat(_figures(test, table), _queries(test, drawn)).add_params(*limits)
    return Figure(both, {"what-if": table, "queries": drawn})


def _parameter(test: Test, name: str) -> alt.Parameter:
    step, end, start = slider(test, name)
    bound = alt.binding_range(min=step, max=end, step=step, name=f"{name.upper()} limit, ms")
    return alt.param(name=f"{name}_limit", value=start, bind=bound)


def _figures(test: Test, table: pd.DataFrame) -> alt.LayerChart:
    """The counts of both limits as lines of text."""
    total, share = len(test.latencies), judged_share(test.result)
    allowed = violations_allowed(total, share)
    over = {
        f"over_{name}": f"datum.{name} !== null && datum.{name} > "
        f"round({name}_limit / {slider(test, name)[0]:.10g}) ? 1 : 0"
        for name in NAMES
    }
    within = {
        "within_ttft": "datum.answered * (1 - datum.over_ttft)",
        "within_tpot": "datum.answered * (1 - datum.over_tpot)",
        "within_both": "datum.within_ttft * (1 - datum.over_tpot)",
    }
    lines = _lines(total, allowed, test.metrics.samples_per_s, blocked(test))
    sums: Any = {name: f"sum({name})" for name in (*over, *within)}
    rows = alt.Y("what:N", sort=[*lines], axis=None)
    base = (
        alt.Chart(source("what-if", table), width=WIDE, height=24 * len(lines))
        .transform_calculate(**over)
        .transform_calculate(**within)
        .transform_aggregate(**sums)
        .transform_calculate(**lines)
        .transform_fold([*lines], as_=["what", "says"])
        .mark_text(align="left", fontSize=13)
    )
    named = base.encode(x=alt.value(0), y=rows, text="what:N")
    return alt.layer(named, base.encode(x=alt.value(128), y=rows, text="says:N"))


def _lines(total: int, allowed: int, per_s: float, because: str) -> dict[str, str]:
    """What each line says, as an expression of Vega."""

    def share(name: str) -> str:
        some = f"format(100 * datum.{name} / {total}, '.1f')"
        return f"{some} + ' % (' + format(datum.{name}, ',') + ' of {total:,})'"

    def excess(name: str) -> str:
        return f"format(datum.{name}, ',') + ' ({max(allowed, 0):,} allowed)'"

    kept = f"max(datum.over_ttft, datum.over_tpot) <= {allowed}"
    return {
        "Within the TTFT limit": share("within_ttft"),
        "Within the TPOT limit": share("within_tpot"),
        "Within both": share("within_both"),
        "Goodput, queries/s": f"format({per_s:.10g} * datum.within_both / {total}, '.3f')",
        "Over the TTFT limit": excess("over_ttft"),
        "Over the TPOT limit": excess("over_tpot"),
        "LoadGen would say": (
            f"'{because}'" if because else f"{kept} ? 'VALID' : 'INVALID: too many over'"
        ),
    }


def _queries(test: Test, drawn: pd.DataFrame) -> alt.LayerChart:
    """Each query by its TTFT and TPOT, red where it is over a limit."""
    kept = "datum.ttft_ms <= ttft_limit && datum.tpot_ms <= tpot_limit"
    axes = {
        name: alt.Scale(domain=[0, slider(test, name)[1]], nice=False, clamp=True) for name in NAMES
    }
    points = (
        alt.Chart(source("queries", drawn), width=WIDE, height=220)
        .mark_circle(size=36, opacity=0.7)
        .encode(
            x=alt.X("ttft_ms:Q", title="TTFT, ms", scale=axes["ttft"]),
            y=alt.Y("tpot_ms:Q", title="TPOT, ms", scale=axes["tpot"]),
            color=alt.condition(kept, alt.value(BLUE), alt.value(RED)),
            tooltip=tooltip(query="query", ttft_ms="TTFT, ms", tpot_ms="TPOT, ms"),
        )
    )
    lines = [
        alt.Chart(alt.InlineData([{}]))
        .transform_calculate(at=f"{name}_limit")
        .mark_rule(color=RED, strokeDash=[4, 3])
        .encode(**{axis: "at:Q"})
        for name, axis in zip(NAMES, "xy", strict=True)
    ]
    return alt.layer(points, *lines).properties(title="Each query; red: over a limit")


def caption(test: Test) -> str:
    """The tightest limits that early stopping would accept."""
    frame, share = test.latencies, judged_share(test.result)
    held = tightest_ms(frame, share)
    return render(
        "report/figures/what_if",
        percentile=f"{share * 100:g}",
        total=len(frame),
        needs=early_stopping_queries(0, share),
        allowed=violations_allowed(len(frame), share),
        held=held and {"ttft": math.ceil(held["ttft"]), "tpot": math.ceil(held["tpot"] * 10) / 10},
        blocked=blocked(test),
    )
