"""Cost of a rate: money by the price of an hour, energy by the machine's own counters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadgen_study.analysis.intervals import tokens_by

# Where a machine's power is read from: (name, counter of energy in J, power in W).
SOURCES = (
    ("CPU packages", "cpu_energy_j", ""),
    ("GPUs", "gpu_energy_j", "gpu_power_w"),
)
# By its management controller, which contains the others.
MACHINE = ("whole machine", "", "machine_power_w")


@dataclass(frozen=True)
class Price:
    """In the currency of the hour's price; infinite where nothing was answered."""

    per_million_tokens: float  # of output
    per_run: float  # of the whole official dataset, if it were like this


@dataclass(frozen=True)
class Energy:
    """Of the whole machine, idle or not, as far as it is measured."""

    watts: Mapping[str, float]  # on average, by source; their sum is the whole
    joules_per_token: float  # of output; infinite without a token


@dataclass(frozen=True)
class SteadyEnergy:
    """Of the time between a test's ramp and its drain, idle included.

    Attributes:
        watts: as of ``Energy``.
        per_input, per_output, per_token: all the energy over the tokens of prompts whose first
            token came in that time, of answers, and of both, J; infinite without one.
        idle_w: the idle power of the same sources; NaN where that is not known. above_idle: J per
            token of both beyond it.
    """

    watts: Mapping[str, float]
    per_input: float
    per_output: float
    per_token: float
    idle_w: float = math.nan
    above_idle: float = math.nan


def price_of(
    price_per_hour: float | None, tokens_per_s: float, samples_per_s: float, samples: int
) -> Price | None:
    """What tokens and a run cost at this rate; None without a price.

    Args:
        samples: of the run.
    """
    if price_per_hour is None:
        return None
    per_s = price_per_hour / 3600
    return Price(
        per_million_tokens=per_s * 1e6 / tokens_per_s if tokens_per_s else math.inf,
        per_run=per_s * samples / samples_per_s if samples_per_s else math.inf,
    )


def energy_of(telemetry: pd.DataFrame, tokens_per_s: float) -> Energy | None:
    """Mean power over a test's samples, and energy for each token; None if nothing was measured.

    Args:
        telemetry: of ``Telemetry.frame``.
    """
    if not (watts := watts_of(telemetry)):
        return None
    return Energy(watts, _per(sum(watts.values()), tokens_per_s))


def watts_of(telemetry: pd.DataFrame) -> dict[str, float]:
    """Mean power over some samples by source, W; of the whole machine alone where that is known.

    A counter's rise over the time between first and last sample; where there is none, the mean of
    the power that was read.
    """
    for sources in ((MACHINE,), SOURCES):
        found = {}
        for name, counter, power in sources:
            watts = _from_counter(telemetry, counter)
            if watts is None and power in telemetry:
                watts = float(telemetry[power].mean())
            if watts is not None and not math.isnan(watts):
                found[name] = watts
        if found:
            return found
    return {}


def steady_energy_of(
    telemetry: pd.DataFrame,
    frame: pd.DataFrame,
    span_s: tuple[float, float],
    idle: Mapping[str, float],
) -> SteadyEnergy | None:
    """Energy for each token between two times of a test; None if nothing was measured there.

    Args:
        span_s: begin and end since the test's start.
        idle: power by source without a query, W; empty if it is not known.
    """
    if telemetry.empty:
        return None
    watts = watts_of(telemetry[telemetry["time_s"].between(*span_s)])
    done = frame.dropna(subset=["first_token_s", "done_s"])
    if not watts or done.empty:
        return None
    total_j = sum(watts.values()) * (span_s[1] - span_s[0])
    output = float(np.diff(tokens_by(done, np.array(span_s)))[0])
    begun = done["first_token_s"].between(*span_s)
    given = float(done.loc[begun, "input_tokens"].sum())
    per_token = _per(total_j, given + output)
    idle_w = sum(idle.get(name, math.nan) for name in watts)
    above = per_token * (1 - idle_w / sum(watts.values())) if total_j else math.nan
    return SteadyEnergy(
        watts, _per(total_j, given), _per(total_j, output), per_token, idle_w, above
    )


def _per(joules: float, tokens: float) -> float:
    return joules / tokens if tokens else math.inf


def _from_counter(telemetry: pd.DataFrame, counter: str) -> float | None:
    if counter not in telemetry:
        return None
    known = telemetry[["time_s", counter]].dropna()
    lasted_s = known["time_s"].max() - known["time_s"].min() if len(known) > 1 else 0.0
    if not lasted_s > 0:
        return None
    return float((known[counter].iloc[-1] - known[counter].iloc[0]) / lasted_s)
