"""Notebooks without a run_name, one after another, fill one run."""

from datetime import datetime, timedelta

import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun
from loadgen_study.runs import folders


@pytest.fixture
def params(tmp_path):
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    return echo_params(dataset=str(dataset), outputs=str(tmp_path / "out"))


def folder(params, kind):
    return LiveRun.start(params, kind=kind).folder


def test_run_all_makes_one_run_and_perf_twice_makes_two(params):
    begun = folder(params, "setup")
    assert folder(params, "accuracy") == begun
    # Its rate is its own.
    assert folder(params.changed(target_qps=50.0), "perf") == begun
    again = folder(params, "perf")
    assert again != begun
    assert folder(params, "perf") not in (begun, again)


def test_another_model_scenario_or_name_is_another_run(params):
    begun = folder(params, "setup")
    assert folder(params.changed(scenario="Offline"), "accuracy") != begun
    assert folder(params.changed(run_name="mine"), "accuracy").name == "mine"


@pytest.mark.parametrize("aged", [timedelta(hours=23), timedelta(hours=25)])
def test_a_run_of_yesterday_is_not_joined(params, aged):
    begun = folder(params, "setup")
    stamp = (datetime.now() - aged).strftime(folders.STAMP)
    begun = begun.rename(begun.with_name(f"{stamp}{begun.name[15:]}"))
    joined = folder(params, "accuracy") == begun
    assert joined == (aged < folders.JOINED_FOR)


def test_a_run_with_a_name_is_never_joined(params):
    """Such as that of vllm-loadgen report, whose notebooks follow."""
    named = folder(params.changed(run_name="20990101-000000-x"), "setup")
    assert folder(params, "accuracy") != named


def test_two_kernels_never_share(params):
    begun = folder(params, "setup")
    assert folders.claim(begun, "accuracy")
    assert folder(params, "accuracy") != begun
