"""Cost of a rate: money by the price of an hour, energy by the machine's own counters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

# Where a machine's power is read from: (name, counter of energy in J, power in W).
SOURCES = (
    ("CPU packages", "cpu_energy_j", ""),
    ("GPUs", "gpu_energy_j", "gpu_power_w"),
)


@dataclass(frozen=True)
class Price:
    """In the currency of the hour's price; infinite where nothing was answered."""

    per_million_tokens: float  # of output
    per_run: float  # of the whole official dataset, if it were like this


@dataclass(frozen=True)
class Energy:
    """Of the whole machine, idle or not, as far as it is measured."""

    watts: Mapping[str, float]  # on average, by source
    joules_per_token: float  # of output; infinite without a token


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

    A counter's rise over the time between first and last sample; where there is none, the mean of
    the power that was read.

    Args:
        telemetry: of ``Telemetry.frame``.
    """
    watts = {}
    for name, counter, power in SOURCES:
        if (found := _from_counter(telemetry, counter)) is None and power in telemetry:
            found = float(telemetry[power].mean())
        if found is not None and not math.isnan(found):
            watts[name] = found
    if not watts:
        return None
    total = sum(watts.values())
    return Energy(watts, total / tokens_per_s if tokens_per_s else math.inf)


def _from_counter(telemetry: pd.DataFrame, counter: str) -> float | None:
    if counter not in telemetry:
        return None
    known = telemetry[["time_s", counter]].dropna()
    lasted_s = known["time_s"].max() - known["time_s"].min() if len(known) > 1 else 0.0
    if not lasted_s > 0:
        return None
    return float((known[counter].iloc[-1] - known[counter].iloc[0]) / lasted_s)
