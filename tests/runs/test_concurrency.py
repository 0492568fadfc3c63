"""Tests at fixed numbers of queries at once, on an echo engine of known speed."""

import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun, ParameterError, RunParams
from loadgen_study.runs.concurrency import measure_concurrency
from loadgen_study.runs.sweep import sweep, sweep_table

pytestmark = pytest.mark.quiet
# 20 ms to the first token and 20 for the 20 others: a slot answers 25 queries/s, four slots 100.
SPEED = {"ttft_ms": 20, "tpot_ms": 1, "output_tokens": 21, "slots": 4}


@pytest.fixture
def params(tmp_path):
    dataset = write_articles(tmp_path / "a.jsonl", 16, article="w " * 30, highlights="b {i}")
    return echo_params(
        dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r", min_duration_ms=1,
        min_query_count=32, engine_options=SPEED,
    )  # fmt: skip


def measured(params):
    said = []
    with LiveRun.start(params) as live:
        measure_concurrency(live, said.append)
    return sweep_table(live.read()), said


def test_each_number_at_once_has_its_rate_and_its_wait_from_send(params):
    table, said = measured(params.changed(sweep_concurrency=[4, 1, 2]))
    assert table["offered"].tolist() == [1, 2, 4]
    assert table["reached"].tolist() == [1, 2, 4]
    assert table["passes"].tolist() == [5, 5, 5]
    # Not 4 times 20 ms in the line for the last of 32 queries.
    assert (table["sent_ttft_p50_ms"] < 40).all()
    assert table["steady_tokens_per_s"].is_monotonic_increasing
    assert (table["steady_tokens_per_s"] < 21 * 100).all()
    assert said[0].startswith("1 at once: 80 queries")
    assert said[1].startswith("2 at once: 80 queries, about ")


def test_auto_ends_where_twice_as_many_gain_nothing(params):
    slow = SPEED | {"slots": 2}
    table, said = measured(params.changed(sweep_concurrency="auto", engine_options=slow))
    # On a busy machine a doubling may seem to gain, so it may end one later.
    assert table["offered"].tolist() in ([1, 2, 4], [1, 2, 4, 8])
    assert "at once: the last, since tokens/s grew by " in said[-1]


def test_a_point_lasts_for_the_least_duration_by_whole_passes(params):
    table, _ = measured(params.changed(sweep_concurrency=[1, 2], min_duration_ms=2000))
    first, second = table["queries"]
    assert first == 80  # nothing was measured before
    assert second >= 2 * 25 * 2 * 0.6
    assert second % 16 == 0


def test_a_budget_leaves_out_what_does_not_fit(params):
    table, said = measured(params.changed(sweep_concurrency=[1, 2, 4], sweep_budget_s=1.0))
    assert table["offered"].tolist() == [1]
    assert said[-1].startswith("2 at once: left out, about ")


def test_many_at_once_have_queries_enough_for_a_steady_part(params):
    """Each point has a p90, which takes 64 queries that lie wholly in the steady part."""
    table, _ = measured(params.changed(sweep_concurrency=[4, 16, 100]))
    assert table["reached"].tolist() == [4, 16, 100]
    assert table["queries"].tolist() == [80, 112, 368]
    assert table["tpot_p90_ms"].notna().all()


def test_a_second_command_reuses_all_points(params, capsys):
    asked = params.changed(sweep_concurrency=[1, 2], repeats=2)
    for _ in range(2):
        with LiveRun.start(asked) as live:
            table = sweep(live)
    assert table["runs"].tolist() == [2, 2]
    assert capsys.readouterr().out.count("finished before, reused") == 4


def test_one_more_number_makes_that_one_alone(params, capsys):
    long = params.changed(min_duration_ms=1000)
    for numbers in ([1, 4], [1, 2, 4]):
        measured(long.changed(sweep_concurrency=numbers))
    said = capsys.readouterr().out
    assert said.count("finished before, reused") == 2


@pytest.mark.parametrize("value", ["all", [0], [1.5], "3"])
def test_what_is_no_number_at_once_is_refused(value):
    with pytest.raises(ParameterError, match="sweep_concurrency"):
        RunParams.from_dict({"sweep_concurrency": value})
