"""What a test costs, where runs and variants are set side by side."""

import math

from loadgen_study.results.test import Test

COSTS = {
    "price_per_million": "Price of 10^6 output tokens",
    "joules_per_token": "J per output token",
    "watts": "Mean power, W",
}


def costs(test: Test, price_per_hour: float | None) -> dict[str, float]:
    """What is known of a test's costs, by the names of ``COSTS``."""
    price, energy = test.price(price_per_hour), test.energy
    found = {}
    if price is not None:
        found["price_per_million"] = price.per_million_tokens
    if energy is not None:
        found["joules_per_token"] = energy.joules_per_token
        found["watts"] = sum(energy.watts.values())
    return {name: value for name, value in found.items() if math.isfinite(value)}
