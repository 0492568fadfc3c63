import pandas as pd
import pytest
from helpers import draws

from vllm_loadgen.report import plots_sweep

SWEEP = pd.DataFrame(
    {
        "kind": ["rate", "rate", "concurrency"],
        "offered": [0.3, 0.6, 4],
        "samples_per_s": [0.3, 0.5, 0.6],
        "tokens_per_s": [30.0, 50.0, 60.0],
        "user_tokens_per_s": [30.0, 15.0, 18.0],
        "ttft_p99_ms": [400.0, 2500.0, 9000.0],
        "goodput_per_s": [0.3, 0.2, 0.6],
    }
)
LIMITS = {"ttft": 2000.0, "tpot": 100.0}


@pytest.mark.parametrize("limits_ms", [LIMITS, {"ttft": 0, "tpot": 0}], ids=["limits", "none"])
@pytest.mark.parametrize("kind", ["rate", "concurrency", "both"])
def test_sweep_curves(kind, limits_ms):
    table = SWEEP if kind == "both" else SWEEP[SWEEP["kind"] == kind]
    assert draws(plots_sweep.sweep_curves(table, limits_ms))
    caption = plots_sweep.sweep_caption(table, limits_ms)
    fastest = "0.6 queries/s offered" if kind == "rate" else "4 queries at once offered"
    assert f"came with {fastest}" in caption
    # The highest rate is not the one with the most queries within the limits.
    assert ("0.3 queries/s within the limits, with 0.3" in caption) == (kind != "concurrency")
