import json
import os
import signal
import threading

import pytest
from helpers import echo_params, interrupt, when_answered, write_articles

from loadgen_study import LiveRun
from loadgen_study.accuracy.log import ACCURACY_LOG, read_accuracy_log
from loadgen_study.runs.resume import PART, left_over
from vllm_loadgen import EngineError

pytestmark = pytest.mark.process
ARTICLES = 32


@pytest.fixture
def params(tmp_path):
    """Articles one at a time: some are answered at the journal's first write, after 2 s, and there
    are 4 s left to cut the test off, which a busy machine may need."""
    dataset = write_articles(tmp_path / "a.jsonl", ARTICLES)
    options = {"ttft_ms": 200.0, "slots": 1}
    return echo_params(
        dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r", scenario="Offline",
        engine_options=options, warmup_queries=0,
    )  # fmt: skip


def interrupted(params):
    """The accuracy test, interrupted in its middle."""
    with LiveRun.start(params) as run:
        when_answered(run.folder / "accuracy", 4, interrupt, threading.get_ident())
        with pytest.raises(KeyboardInterrupt):
            run.once("accuracy", "accuracy")
    return run


def killed(params):
    """The accuracy test, its process killed in its middle."""
    with LiveRun.start(params) as run:
        pid = run.session().pid
        when_answered(run.folder / "accuracy", 4, os.kill, pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="ended with status -9"):
            run.once("accuracy", "accuracy")
    return run


@pytest.mark.parametrize("cut", [interrupted, killed])
def test_an_accuracy_test_goes_on_at_the_first_unanswered_sample(params, cut, capsys):
    run = cut(params)
    found = run.read().test("accuracy")
    assert found.result.status == "interrupted"
    answered = set(found.records.loc[found.records["done_ns"].notna(), "sample_index"])
    assert 0 < len(answered) < ARTICLES
    with LiveRun.start(params) as run:
        test = run.once("accuracy", "accuracy")
        scores = run.score()
    resumed = test.result.resumed_samples
    assert resumed == len(answered)
    assert (
        f"accuracy: {resumed} of {ARTICLES} samples were answered before" in capsys.readouterr().out
    )
    assert sorted(test.records["sample_index"]) == sorted({*range(ARTICLES)} - answered)
    with LiveRun.start(params.changed(run_name="whole", engine_options={})) as whole:
        whole.once("accuracy", "accuracy")
        expected = whole.score()
    assert scores.equals(expected)
    assert run.read().accuracy.score == whole.read().accuracy.score
    answers = read_accuracy_log(run.folder / "accuracy" / ACCURACY_LOG)
    assert sorted(answer.qsl_idx for answer in answers) == list(range(ARTICLES))
    assert len(read_accuracy_log(run.folder / "accuracy" / PART)) == ARTICLES - resumed
    run.score()  # again: nothing is joined twice
    assert len(json.loads((run.folder / "accuracy" / ACCURACY_LOG).read_text())) == ARTICLES


def test_what_was_asked_otherwise_is_not_taken_over(params):
    interrupted(params)
    with LiveRun.start(params.changed(scenario="Server", target_qps=100.0)) as run:
        assert run.once("accuracy", "accuracy").result.resumed_samples == 0


def test_something_is_always_left_to_ask():
    assert left_over([0, 2], 4) == [1, 3]
    assert left_over(range(4), 4) == [3]
