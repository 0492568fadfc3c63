"""Inputs for demand, limits and prices, and the replicas they take, without a kernel.

Vega repeats ``analysis.sizing.size``; a test compares both line by line.
"""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from loadgen_study.analysis.sizing import SLACK, Beyond, Demand, Replica, Sizing
from loadgen_study.report.figures.base import GREY, WIDE, Figure, source
from loadgen_study.words import significant

# A rate above all others: no test breaks the limits.
NEVER = 1e300
NAMES = ("Demand, queries/s", "One replica holds, queries/s", "Replicas", "Money an hour",
         "Money per 10^6 output tokens", "Power, kW", "J per output token",
         "Not measured")  # fmt: skip
BEYOND: dict[Beyond, str] = {
    "replicas": "more than one replica",
    "rate": "a rate that breaks the limits",
    "spread": "the interval of the rate",
    "closed loop": "arrivals by chance",
}
NOTHING_KEPT = "no measured rate keeps these limits"
NO_DEMAND = "give a demand above 0, and nothing below 0"
UNKNOWN = "not known"
SEPARATOR = "; "


def example(points: pd.DataFrame) -> Demand:
    """The chart's first demand: ten times the highest measured rate, rounded."""
    return Demand(float(significant(10 * points["rate_per_s"].max(), 2).replace(",", "")))


def chart(points: pd.DataFrame, replica: Replica, limits: Mapping[str, float]) -> Figure:
    """Inputs, and the sizing that they give as lines of text.

    Args:
        points: of ``analysis.sizing.size``. limits: first values of ttft_limit_ms, tpot_limit_ms.
    """
    start = {
        "qps": (example(points).queries_per_s, "queries/s"),
        "users": (0, "users at once"),
        "think_s": (10, "think time, s"),
        "ttft_limit": (limits["ttft_limit_ms"], "TTFT limit, ms"),
        "tpot_limit": (limits["tpot_limit_ms"], "TPOT limit, ms"),
        "price": (replica.price_per_hour, "price of a device-hour"),
        "device_watts": (round(replica.watts, 1), "watts of a device"),
    }
    inputs = [
        alt.param(name=name, value=value, bind=alt.binding(input="number", name=title))
        for name, (value, title) in start.items()
    ]
    table = points.round(6)
    lines = _lines(replica)
    base = _computed(source("sizing", table), len(lines)).transform_calculate(**lines)
    base = base.transform_fold([*lines], as_=["what", "says"])
    at = base.encode(x=alt.value(0), y=alt.Y("what:N", sort=[*lines], axis=None))
    # One above the other: side by side they do not fit a phone.
    named = at.mark_text(align="left", dy=-9, fontSize=11, color=GREY).encode(text="what:N")
    says = at.mark_text(align="left", dy=6, fontSize=13, lineBreak=SEPARATOR).encode(text="says:N")
    return Figure(alt.layer(named, says).add_params(*inputs), {"sizing": table})


def _computed(data: alt.NamedData, lines: int) -> alt.Chart:
    """The row of the best test that keeps the limits, with best_per_s, next_per_s and demand."""
    kept = "datum.ttft_ms <= toNumber(ttft_limit) && datum.tpot_ms <= toNumber(tpot_limit)"
    is_known = "isValid(datum.ttft_ms) && isValid(datum.tpot_ms)"
    breaks = f"{is_known} && !datum.kept && datum.offered_per_s > datum.best_per_s"
    names = ("qps", "users", "think_s", "price", "device_watts")
    given = [f"(toNumber({name}) || 0)" for name in names]
    signs = [f"{one} >= 0" for one in given]
    best: Any = {"best_per_s": "max(kept_per_s)"}
    following: Any = {"next_per_s": "min(breaking_per_s)"}
    found: alt.Chart = (
        alt.Chart(data, width=WIDE, height=38 * lines)
        .transform_calculate(kept=f"{is_known} && {kept}")
        .transform_calculate(kept_per_s="datum.kept ? datum.rate_per_s : 0")
        .transform_joinaggregate(**best)
        .transform_calculate(breaking_per_s=f"{breaks} ? datum.offered_per_s : {NEVER}")
        .transform_joinaggregate(**following)
        .transform_filter("datum.kept_per_s === datum.best_per_s")
        .transform_window(place="row_number()")
        .transform_filter("datum.place === 1")
        .transform_calculate(
            demand=f"{given[0]} + {given[1]} / ({given[2]} + datum.latency_s)",
            valid=f"{' && '.join(signs)} && {given[0]} + {given[1]} > 0",
        )
    )
    return found


# Whether the ends of a replica's rate are known, as Vega's expressions.
HAS_LOW, HAS_HIGH = "isValid(datum.low_per_s)", f"datum.next_per_s < {NEVER}"


def _lines(replica: Replica) -> dict[str, str]:
    """Each line's text as an expression of Vega."""
    money = f"{replica.devices} * toNumber(price)"
    watts = f"{replica.devices} * toNumber(device_watts)"
    tokens = f"(datum.demand * {replica.output_tokens:.12g})"
    rates = _between("format(datum.low_per_s, ',.3f')", HAS_LOW,
                     "format(datum.next_per_s, ',.3f')", HAS_HIGH)  # fmt: skip
    texts = (
        "format(datum.demand, ',.3f')",
        f"format(datum.best_per_s, ',.3f') + {rates}",
        _of_replicas("1", ","),
        _if_given("price", _of_replicas(money, ",.2f")),
        _if_given("price", _of_replicas(f"{money} / 3600 / {tokens} * 1e6", ",.4f")),
        _if_given("device_watts", _of_replicas(f"{watts} / 1000", ",.3f")),
        _if_given("device_watts", _of_replicas(f"{watts} / {tokens}", ",.4f")),
        _beyond({"replicas": f"{_needed('datum.best_per_s')} > 1", "rate": f"!({HAS_HIGH})",
                 "spread": f"!{HAS_LOW}", "closed loop": "datum.closed"}),
    )  # fmt: skip
    guard = f"!datum.valid ? '{NO_DEMAND}' : datum.best_per_s === 0 ? '{NOTHING_KEPT}' : "
    return {name: guard + text for name, text in zip(NAMES, texts, strict=True)}


def _needed(per_s: str) -> str:
    return f"max(1, ceil(datum.demand / {per_s} - {SLACK}))"


def _of_replicas(one: str, form: str) -> str:
    """A total over all replicas, with the interval of their number."""
    value, fewest, most = (f"format({_needed(f'datum.{rate}_per_s')} * {one}, '{form}')"
                           for rate in ("best", "next", "low"))  # fmt: skip
    return f"{value} + {_between(fewest, HAS_HIGH, most, HAS_LOW)}"


def _between(low: str, low_known: str, high: str, high_known: str) -> str:
    ends = [f"({known} ? {end} : '{UNKNOWN}')"
            for end, known in ((low, low_known), (high, high_known))]  # fmt: skip
    return f"' [' + {ends[0]} + ', ' + {ends[1]} + ']'"


def _if_given(name: str, text: str) -> str:
    return f"(toNumber({name}) > 0 ? {text} : '{UNKNOWN}')"


def _beyond(true: Mapping[Beyond, str]) -> str:
    """The names of what is true, or "nothing"."""
    names = [f"({test} ? '{SEPARATOR}{BEYOND[name]}' : '')" for name, test in true.items()]
    return f"slice({' + '.join(names)}, 2) || 'nothing'"


def said(found: Sizing | None) -> dict[str, str]:
    """The same lines of a sizing in Python."""
    if found is None:
        return dict.fromkeys(NAMES, NOTHING_KEPT)

    def shown(value: float | None, form: str) -> str:
        return UNKNOWN if value is None or math.isnan(value) else format(value, form)

    def of_replicas(total: float, form: str) -> str:
        if math.isnan(total):
            return UNKNOWN
        ends = (n and n * total / found.replicas for n in (found.fewest, found.most))
        fewest, most = (shown(end, form) for end in ends)
        return f"{total:{form}} [{fewest}, {most}]"

    low, high = (shown(value, ",.3f") for value in (found.low_per_s, found.high_per_s))
    texts = (
        f"{found.demand_per_s:,.3f}",
        f"{found.per_s:,.3f} [{low}, {high}]",
        of_replicas(found.replicas, ",.0f"),
        of_replicas(found.price_per_hour, ",.2f"),
        of_replicas(found.price_per_million, ",.4f"),
        of_replicas(found.kilowatts, ",.3f"),
        of_replicas(found.joules_per_token, ",.4f"),
        SEPARATOR.join(BEYOND[name] for name in found.beyond) or "nothing",
    )
    return dict(zip(NAMES, texts, strict=True))
