import math

import pytest

from vllm_loadgen import LiveRun, ParameterError
from vllm_loadgen.report.text_extra import tuning_text
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


def test_a_tuning_goes_on_with_what_is_missing_and_tries_failures_again(params, capsys):
    params = params.changed(scenario="Offline", min_query_count=16)
    with LiveRun.start(params.changed(tune={"max_num_seqs": [4]})) as run:
        first = tune(run, lambda _: None)
    failed = run.folder / "tune" / "01" / "variant.json"
    failed.write_text('{"title": "max_num_seqs=4", "problem": "the engine did not load"}')
    capsys.readouterr()
    with LiveRun.start(params.changed(tune={"max_num_seqs": [4, 8]})) as run:
        table = tune(run, lambda _: None)
    assert capsys.readouterr().out.count("performance: finished before, reused") == 3
    # In the order in which they were made first.
    assert list(table.index) == ["baseline", "max_num_seqs=4", "baseline again", "max_num_seqs=8"]
    assert set(table["problem"]) == {""}
    assert table.loc["baseline", "tokens_per_s"] == first.loc["baseline", "tokens_per_s"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dtype": ["int3"]}, "tune.dtype = ['int3']: dtype = 'int3'"),
        ({"engine_options": ["x"]}, "tune.engine_options = ['x']: engine_options = 'x'"),
        ({"target_qps": ["auto"]}, "is no rate to vary"),
        ({"concurrency": [1, 1]}, "holds a value twice"),
    ],
)
def test_values_that_would_not_do_are_refused_before_anything_is_made(params, values, words):
    with pytest.raises(ParameterError) as caught:
        params.changed(tune=values)
    assert words in str(caught.value)


def test_a_number_and_its_text_are_two_values(params):
    tuning = {"engine_options": [{"ttft_ms": 1, "slots": 2}, {"ttft_ms": "1", "slots": 2}]}
    params = params.changed(scenario="Offline", min_query_count=16, tune=tuning)
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
    assert list(table.index)[1:3] == ["ttft_ms=1, slots=2", "ttft_ms='1', slots=2"]
    assert "TypeError" in table["problem"].iloc[2]
    assert tuning_text(table).startswith("The two measurements")
