"""Data of the accuracy test that are not those of the performance test."""

import json

import pytest
from helpers import echo_params

from loadgen_study import LiveRun, Run
from loadgen_study.facts.inputs import Dataset
from vllm_loadgen.errors import BenchmarkError, ParameterError


def write(path, rows):
    lines = (
        {"article": f"The town voted {n} times.", "highlights": "A vote."} for n in range(rows)
    )
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return str(path)


@pytest.fixture
def params(tmp_path):
    return echo_params(
        scenario="Offline",
        dataset=write(tmp_path / "performance.jsonl", 5),
        accuracy_dataset=write(tmp_path / "accuracy.jsonl", 3),
        accuracy_max_new_tokens=7,
        outputs=str(tmp_path / "out"),
        run_name="r",
        warmup_queries=0,
    )


def made(params):
    with LiveRun.start(params) as live:
        live.once("performance")
        live.once("accuracy", "accuracy")
    assert live.samples_of("TEST07") is live.samples_of("accuracy")  # loaded once
    live.score()
    return live.read()


@pytest.mark.process
def test_each_test_has_its_own_data_and_cap(params, tmp_path, capsys):
    run = made(params)
    assert (run.dataset.samples, run.scored_data.samples) == (5, 3)
    assert set(run.test("performance").records["sample_index"]) == set(range(5))
    assert run.accuracy.score["gen_num"] == 3
    caps = [run.test(name).params.max_new_tokens for name in ("performance", "accuracy")]
    assert caps == [params.max_new_tokens, 7]
    assert run.test("accuracy").records["output_tokens"].max() <= 7
    assert Dataset.read(run.folder / "accuracy" / "dataset.json").samples == 3
    capsys.readouterr()
    again = made(params)  # both are reused
    assert capsys.readouterr().out.count("finished before, reused") == 2
    assert again.accuracy == Run.open(run.folder).accuracy
    write(tmp_path / "accuracy.jsonl", 4)
    with pytest.raises(BenchmarkError, match="checksum is"):
        made(params)
    with pytest.raises(BenchmarkError, match="checksum is"):
        made(params.changed(accuracy_dataset=""))


@pytest.mark.process
def test_performance_data_need_no_references_where_others_are_scored(params, tmp_path):
    rows = [{"article": f"The town voted {n} times."} for n in range(5)]
    path = tmp_path / "performance.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = made(params)
    assert (run.dataset.samples, run.dataset.unscorable_references) == (5, 0)
    assert run.accuracy.score["gen_num"] == 3
    with pytest.raises(ParameterError, match="highlights"):
        LiveRun.start(params.changed(accuracy_dataset="", run_name="other"))


def test_a_file_that_is_missing_is_refused_before_anything_is_made(params, tmp_path):
    with pytest.raises(ParameterError, match="there is no such file"):
        LiveRun.start(params.changed(accuracy_dataset=str(tmp_path / "nothing.jsonl")))
    assert not (tmp_path / "out").exists()


def test_prompts_leave_room_for_the_longer_answer(params):
    with pytest.raises(ParameterError, match="max_model_len"):
        LiveRun.start(params.changed(accuracy_max_new_tokens=params.max_model_len))
