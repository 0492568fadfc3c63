"""Interference is planted: in tables, and by a process that burns a core during an echo test."""

import subprocess
import sys

import pandas as pd
import psutil
import pytest
from helpers import PROMPTS, echo_params, imitated, make_records, when_answered

from loadgen_study import Test
from loadgen_study.analysis.interference import others, stretches
from loadgen_study.analysis.metrics import latencies

BURN = "import time\nend = time.monotonic() + 4\nwhile time.monotonic() < end: sum(range(100_000))"
# Every second a query of 2 s; the one that is due at 12 s takes 4 s.
ROWS = [(i, i, i + 0.1, i + 0.2, i + (4 if i == 12 else 2), 40, 11) for i in range(20)]


def sampled(busy, seconds=22, share=0.3):
    """Telemetry of a machine that another program uses in these seconds."""
    second = pd.Series(range(seconds))
    other = second.isin(list(busy)) * share + 0.02
    return pd.DataFrame({"time_s": second + 1.0, "cpu_share": 0.6 + other,
                         "own_cpu_share": 0.6, "steal_share": 0.0})  # fmt: skip


def test_a_quiet_run_has_no_stretch():
    test = imitated(make_records(ROWS), telemetry=sampled([]))
    assert test.disturbed.empty
    assert not test.disturbed_queries.any()


def test_a_busy_stretch_is_found_and_its_queries_are_marked():
    test = imitated(make_records(ROWS), telemetry=sampled(range(13, 16)))
    (found,) = test.disturbed.to_dict("records")
    assert (found["begin_s"], found["end_s"]) == (13.0, 16.0)
    assert found["share"] == pytest.approx(0.32)
    # Those from 12 s to 15 s; the one of 11 s is answered as it begins.
    assert test.disturbed_queries[test.disturbed_queries].index.tolist() == [12, 13, 14, 15]
    assert found["queries"] == 4
    assert found["slowest"]
    assert not imitated(make_records(ROWS), telemetry=sampled([3, 4])).disturbed["slowest"].any()


@pytest.mark.parametrize(
    ("busy", "share", "expected"),
    [
        ([5], 0.9, 0),  # a second
        ([5, 6], 0.9, 1),
        ([5, 6], 0.02, 0),  # 4 % of the cores
        ([5, 6, 9, 10], 0.9, 2),
        ([5, 7, 9], 0.9, 0),
    ],
)
def test_a_stretch_is_long_and_above_a_share(busy, share, expected):
    frame = latencies(make_records(ROWS))
    assert len(stretches(others(sampled(busy, share=share)), frame, at_once=False)) == expected


def test_what_meets_no_query_disturbs_nothing():
    frame = latencies(make_records(ROWS[:3]))
    assert stretches(others(sampled([10, 11, 12])), frame, at_once=False).empty


def test_of_queries_that_are_due_at_once_those_in_the_engine_count():
    rows = [(0, 0, 5.0 * i, 5.0 * i + 1, 5.0 * i + 5, 40, 11) for i in range(4)]
    frame = latencies(make_records(rows))
    samples = others(sampled([6, 7]))
    assert stretches(samples, frame, at_once=True)["queries"].tolist() == [1]
    assert stretches(samples, frame, at_once=False)["queries"].tolist() == [3]


def test_a_server_on_this_machine_is_no_other_program():
    telemetry = sampled(range(5, 8))
    assert others(telemetry, server_here=True).empty
    found = others(telemetry.assign(server_cpu_share=0.2), server_here=True)
    assert len(found) == len(telemetry)
    assert others(pd.DataFrame()).empty


@pytest.mark.quiet
def test_a_process_that_burns_a_core_is_found(tmp_path, echo):
    """The burner is no child of the worker that samples the machine."""
    params = echo_params(target_qps=8.0, min_query_count=64, min_duration_ms=8_000)
    (tmp_path / "params.yaml").write_text(params.to_yaml())
    burners = []
    when_answered(
        tmp_path, 4, lambda: burners.append(subprocess.Popen([sys.executable, "-c", BURN]))
    )
    echo.run(params, PROMPTS, "performance", tmp_path)
    with burners[0]:
        test = Test.open(tmp_path)
    begin_s = test.latencies["done_s"].iloc[4]
    burnt = test.disturbed[test.disturbed["begin_s"] < begin_s + 4]
    assert (burnt["end_s"].clip(upper=begin_s + 5) - begin_s).max() > 2
    assert burnt["share"].max() > 0.5 / psutil.cpu_count()
    meanwhile = test.latencies["issued_s"].between(begin_s + 1.5, begin_s + 2)
    assert test.disturbed_queries[meanwhile].all()
