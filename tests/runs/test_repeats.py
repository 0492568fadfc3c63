import threading

import pytest
from helpers import RESULT, interrupt, make_records, when_answered, write_facts, write_test

from loadgen_study import LiveRun, Run, RunParams
from loadgen_study.facts.scores import Variant
from loadgen_study.report.sections import tests, tuning
from loadgen_study.runs.repeats import measure, mixed_order, repeats_table
from loadgen_study.runs.sweep import sweep, sweep_table
from loadgen_study.runs.tuning import tune, tune_table
from vllm_loadgen import ParameterError


def made(folder, *seconds, verdicts="VALID", **params):
    """A run whose performance tests took so long for ten queries of eleven tokens."""
    params = RunParams(**params)
    write_facts(folder, params)
    names = ["performance", *(f"performance-{n}" for n in range(2, len(seconds) + 1))]
    for place, (name, end_s) in enumerate(zip(names, seconds, strict=True)):
        rows = [(0, 0, 0, 1, end_s, 50, 11)] * 10
        verdict = verdicts if isinstance(verdicts, str) else verdicts[place]
        write_test(folder / name, RESULT | {"verdict": verdict}, make_records(rows))
        (folder / name / "params.yaml").write_text(params.to_yaml())
    return Run.open(folder)


def test_all_once_then_all_again_the_other_way_round():
    order = list(mixed_order("abc", 3))
    assert [item for item, _ in order] == [*"abc", *"cba", *"abc"]
    assert [number for _, number in order] == [1] * 3 + [2] * 3 + [3] * 3


def test_the_report_is_of_the_median_run(tmp_path):
    run = made(tmp_path / "r", 10, 12, 11, verdicts=["VALID", "INVALID", "VALID"], repeats=3)
    assert run.performance_name == "performance-3"
    said = tests.repeats_text(run)
    assert "VALID in 2 of 3" in said
    assert "performance-3." in said
    assert "9.1 %" in said
    assert "95 % interval 7.78 to 12.3" in said
    assert "the next run" in said
    table = repeats_table(run)
    assert table.index.tolist() == [
        "performance", "performance-2", "performance-3", "mean", "coefficient of variation, %",
        "95 % interval between runs",
    ]  # fmt: skip
    assert table.loc["mean", "tokens/s"] == "10.06"
    assert tests.tests_table(run).index.tolist() == ["performance", "performance-2",
                                                      "performance-3"]  # fmt: skip


def test_of_one_run_it_is_said_that_the_next_is_not_known(tmp_path):
    once = made(tmp_path / "r", 10)
    assert "Single run;" in tests.repeats_text(once)
    assert repeats_table(once).empty
    cut = made(tmp_path / "cut", 10, repeats=3)
    assert "Single run of 3 requested" in tests.repeats_text(cut)


def test_two_runs_have_no_interval_and_what_is_missing_is_said(tmp_path):
    run = made(tmp_path / "r", 10, 11, repeats=5)
    said = tests.repeats_text(run)
    assert "2 runs of 5 requested" in said
    assert "interval" not in said
    assert "95 % interval between runs" not in repeats_table(run).index
    # Of two the slower.
    assert run.performance_name == "performance-2"


def test_more_than_nine_runs_are_in_their_order_and_other_tests_are_none_of_them(tmp_path):
    run = made(tmp_path / "r", *[10] * 11)
    other = run.folder / "performance-12"
    write_test(other, RESULT, make_records([(0, 0, 0, 1, 9, 50, 11)]))
    (other / "params.yaml").write_text(RunParams(target_qps=2.0).to_yaml())
    for name in ("performance-slow", "performance-unfinished-1"):
        result = RESULT | {"status": "complete" if "slow" in name else "interrupted"}
        write_test(run.folder / name, result, make_records([(0, 0, 0, 1, 9, 50, 11)]))
    numbers = [name.rpartition("-")[2] for name in Run.open(run.folder).repeats("performance")]
    assert numbers == ["performance", *map(str, range(2, 12))]


@pytest.mark.process
def test_what_is_missing_is_made_and_what_differs_is_refused(params, capsys):
    params = params.changed(scenario="Offline", min_query_count=16)
    with LiveRun.start(params) as run:
        first = measure(run)
    with LiveRun.start(params.changed(repeats=3)) as run:
        assert measure(run).result.complete
        found = run.read()
    assert capsys.readouterr().out.count("finished before, reused") == 1
    assert list(found.repeats("performance")) == ["performance", "performance-2", "performance-3"]
    assert found.test("performance").metrics.tokens_per_s == first.metrics.tokens_per_s
    with (
        LiveRun.start(params.changed(repeats=3, min_query_count=32)) as run,
        pytest.raises(ParameterError, match="its test performance was made with min_query_count"),
    ):
        measure(run)


@pytest.mark.process
def test_an_interrupt_leaves_a_report_of_what_is_there(params):
    params = params.changed(
        scenario="Offline", min_query_count=16, min_duration_ms=1, repeats=2,
        engine_options={"ttft_ms": 300.0, "slots": 1},
    )  # fmt: skip
    with LiveRun.start(params) as run:
        run.once("performance")
        when_answered(run.folder / "performance-2", 4, interrupt, threading.get_ident())
        with pytest.raises(KeyboardInterrupt):
            measure(run)
    found = run.read()
    assert found.performance_name == "performance"
    assert "Single run of 2 requested" in tests.repeats_text(found)
    with LiveRun.start(params) as run:
        measure(run)
    assert len(run.read().repeats("performance")) == 2


@pytest.mark.process
@pytest.mark.usefixtures("coarse")
def test_a_search_repeats_what_confirms_alone(params):
    params = params.changed(target_qps="auto", repeats=2)
    with LiveRun.start(params) as run:
        measure(run)
        measure(run)  # makes nothing anew
    found = run.read()
    tests = found.repeats("performance")
    assert len(tests) == 2
    assert len({test.params.rate for test in tests.values()}) == 1
    assert not list(found.folder.glob("peak/*-2"))


@pytest.mark.process
def test_points_of_a_sweep_are_made_in_mixed_order(params):
    params = params.changed(sweep_qps=[60.0, 90.0], repeats=2)
    with LiveRun.start(params) as run:
        table = sweep(run)
    found = run.read()
    tests = found.finished_tests("sweep/*")
    # started_at has seconds, and a short test may take less.
    order = sorted(tests, key=lambda name: (tests[name].folder / "params.yaml").stat().st_mtime_ns)
    assert order == ["sweep/60-qps", "sweep/90-qps", "sweep/90-qps-2", "sweep/60-qps-2"]
    assert table["runs"].tolist() == [2, 2]
    assert table["tokens_per_s_cv"].notna().all()
    assert table["tokens_per_s_low"].isna().all()  # of two
    slower = min(tests[n].metrics.tokens_per_s for n in ("sweep/60-qps", "sweep/60-qps-2"))
    assert table.loc["60-qps", "tokens_per_s"] == slower


@pytest.mark.process
def test_values_of_a_tuning_are_made_in_mixed_order_and_a_failure_once(params):
    said = []
    params = params.changed(
        scenario="Offline", min_query_count=16, repeats=2,
        tune={"engine_options": [{"ttft_msec": 1}], "max_num_seqs": [4]},
    )  # fmt: skip
    with LiveRun.start(params) as run:
        table = tune(run, said.append)
    titles = [line.split(": ")[1] for line in said]
    forth = ["baseline", "ttft_msec=1", "max_num_seqs=4", "baseline again"]
    back = ["baseline again", "max_num_seqs=4", "baseline"]
    assert titles == [*forth, *back]
    good = table[table["problem"] == ""]
    assert good["runs"].tolist() == [2, 2, 2]
    assert good["ci_low"].isna().all()  # of two
    assert "up to 2 runs in mixed order" in tuning.text(table)


def test_a_tuning_of_three_runs_has_the_interval_between_them(tmp_path):
    run = Run.open(write_facts(tmp_path / "r", RunParams()))
    for place, title in enumerate(["baseline", "max_num_seqs=4", "baseline again"]):
        made(run.folder / f"tune/{place:02d}", 10, 12, 11, verdicts=["VALID", "INVALID", "VALID"])
        Variant(title=title).write(run.folder / f"tune/{place:02d}/variant.json")
    row = tune_table(run).loc["max_num_seqs=4"]
    assert (row["tokens_per_s"], row["runs"], row["verdict"]) == (10.0, 3, "VALID in 2 of 3")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((7.78, 12.34), abs=0.01)


def test_a_sweep_of_single_runs_has_no_columns_of_repeats(tmp_path):
    folder = write_facts(tmp_path / "r", RunParams())
    write_test(folder / "sweep/0.5-qps", RESULT, make_records([(0, 0, 0, 1, 9, 50, 11)]))
    assert "runs" not in sweep_table(Run.open(folder))
