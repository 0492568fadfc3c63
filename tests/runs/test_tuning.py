import math

import pytest

from loadgen_study import LiveRun, RunParams
from loadgen_study.facts.scores import Variant
from loadgen_study.report.sections import tuning
from loadgen_study.runs.tuning import TUNED, tune
from vllm_loadgen import ParameterError

pytestmark = pytest.mark.quiet


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
    text = tuning.text(table)
    assert f"Most tokens/s: {table['tokens_per_s'].idxmax()}" in text
    assert tuning.text(table.iloc[:0]) == ""


def test_a_tuning_goes_on_with_what_is_missing_and_tries_failures_again(params, capsys):
    params = params.changed(scenario="Offline", min_query_count=16)
    with LiveRun.start(params.changed(tune={"max_num_seqs": [4]})) as run:
        first = tune(run, lambda _: None)
    failed = run.folder / "tune" / "01" / "variant.json"
    variant = Variant(title="max_num_seqs=4", changes={"max_num_seqs": 4}, problem="did not load")
    variant.write(failed)
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
        ({"target_qps": ["auto"]}, "is not a rate to vary"),
        ({"concurrency": [1, 1]}, "holds a value twice"),
    ],
)
def test_values_that_would_not_do_are_refused_before_anything_is_made(params, values, words):
    with pytest.raises(ParameterError) as caught:
        params.changed(tune=values)
    assert words in str(caught.value)


def test_a_number_and_its_text_are_two_values(params):
    values = {"engine_options": [{"ttft_ms": 1, "slots": 2}, {"ttft_ms": "1", "slots": 2}]}
    params = params.changed(scenario="Offline", min_query_count=16, tune=values)
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
    assert list(table.index)[1:3] == ["ttft_ms=1, slots=2", "ttft_ms='1', slots=2"]
    assert "TypeError" in table["problem"].iloc[2]
    assert tuning.text(table).startswith("The two baselines")


def test_what_helped_is_measured_together_and_kept_as_a_parameters_file(params, capsys):
    slow = {"ttft_ms": 20.0, "slots": 8}
    changes = {"concurrency": [4], "engine_options": [{"ttft_ms": 4.0, "slots": 8}]}
    params = params.changed(
        scenario="Offline", min_query_count=32, min_duration_ms=1, concurrency=1,
        engine_options=slow, tune=changes,
    )  # fmt: skip
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
        capsys.readouterr()
        again = tune(run, lambda _: None)
        found = run.read()
    assert capsys.readouterr().out.count("performance: finished before, reused") == 5
    assert again.equals(table)
    *_, title = table.index
    assert title.startswith("combined: ")
    # Four at once, each in a fifth of the time: more than either alone.
    assert table["ratio"].idxmax() == title
    kept = RunParams.recorded(run.folder / TUNED)
    assert (kept.concurrency, kept.tune) == (4, {})
    assert kept.engine_options == changes["engine_options"][0]
    assert f"make report PARAMS={run.folder / TUNED}`" in tuning.outcome_text(found, table)


def test_a_tuning_in_which_nothing_helped_ends_without_another_test(params):
    params = params.changed(scenario="Offline", min_query_count=16, tune={"max_num_seqs": [4]})
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
        found = run.read()
    table.loc["max_num_seqs=4", "tokens_per_s"] = 0.0  # the echo engine is as fast with it
    assert list(table.index) == ["baseline", "max_num_seqs=4", "baseline again"]
    assert "Nothing helped" in tuning.outcome_text(found, table)
