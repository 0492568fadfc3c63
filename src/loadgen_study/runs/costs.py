"""Price and energy of a test, for tables that compare runs or variants."""

import math

from loadgen_study.results.test import Test

COSTS = {
    "price_per_million": "Price of 10^6 output tokens",
    "joules_per_token": "J per output token",
    "watts": "Mean power, W",
}


def costs(test: Test, price_per_hour: float | None) -> dict[str, float]:
    """What is known of a test's costs, by the names of ``COSTS``."""
    found = {}
    if price := test.price(price_per_hour):
        found["price_per_million"] = price.per_million_tokens
    if energy := test.energy:
        found["joules_per_token"] = energy.joules_per_token
        found["watts"] = sum(energy.watts.values())
    return {name: value for name, value in found.items() if math.isfinite(value)}
