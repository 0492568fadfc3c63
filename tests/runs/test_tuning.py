import math

import pytest

from vllm_loadgen import LiveRun
from vllm_loadgen.report.text import tuning_text
from vllm_loadgen.runs.tuning import tune

pytestmark = pytest.mark.process


def test_tuning_varies_one_parameter_at_a_time(params):
    changes = {
        "max_num_seqs": [4],
        "engine_options": [{"ttft_ms": 5.0, "slots": 4}, {"ttft_msec": 1}],
        "enable_prefix_caching": [True],
    }
    params = params.changed(tune=changes, tune_accuracy=True, scenario="Offline")
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
        again = tune(run, lambda _: None)
    assert again.equals(table)
    assert list(table.index) == [
        "baseline", "max_num_seqs=4", "ttft_ms=5.0, slots=4", "ttft_msec=1",
        "enable_prefix_caching=True", "baseline again",
    ]  # fmt: skip
    base = table.loc[["baseline", "baseline again"], "ratio"]
    assert base.mean() == pytest.approx(1)
    # An option that the engine refuses is a row, not an end.
    assert "ttft_msec" in table.loc["ttft_msec=1", "problem"]
    assert math.isnan(table.loc["ttft_msec=1", "tokens_per_s"])
    assert table.loc["enable_prefix_caching=True", "rules"] == "Prefix caching"
    assert table.loc["max_num_seqs=4", "rules"] == "kept"
    assert table["rouge1"].notna().sum() == 5
    text = tuning_text(table)
    assert f"came with {table['tokens_per_s'].idxmax()}" in text
    assert tuning_text(table.iloc[:0]) == ""
