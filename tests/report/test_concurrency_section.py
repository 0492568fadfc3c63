"""The curve of a run that was measured at fixed numbers of queries at once."""

import pytest
from helpers import RESULT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.report.figures import curve
from loadgen_study.report.report import Report
from loadgen_study.report.sections import concurrency
from loadgen_study.runs.sweep import sweep_table

OFFLINE = RESULT | {"scenario": "Offline"}


@pytest.fixture
def run(tmp_path):
    """Two tests of 128 queries: with 1 and with 2 at once, which takes 1.5 times as long each."""
    folder = write_facts(tmp_path / "run", RunParams(sweep_concurrency=[1, 2]))
    for at_once, took_s in ((1, 2.0), (2, 3.0)):
        rows = []
        for number in range(128):
            sent = number // at_once * took_s
            rows.append((0, 0, sent, sent + took_s / 2, sent + took_s, 100, 21))
        records = make_records(rows)
        records["given_ns"] = records["started_ns"]
        records["sample_index"] %= 32
        test = write_test(folder / "sweep" / f"{at_once}-at-once", OFFLINE, records)
        asked = RunParams(scenario="Offline", concurrency=at_once)
        (test / "params.yaml").write_text(asked.to_yaml())
    return Run.open(folder)


def test_its_points_are_of_the_steady_part_and_counted_from_send(run):
    text, drawn, caption, table = concurrency.parts(run, sweep_table(run))
    assert "TTFT counts from the sending" in text
    assert table.index.tolist() == [1, 2]
    assert table["sent_ttft_p90_ms"].tolist() == pytest.approx([1000, 1500])
    assert table["user_p90_tokens_per_s"].tolist() == pytest.approx([20, 1000 / 75])
    assert table["steady_tokens_per_s"].tolist() == pytest.approx([10.5, 14.0], rel=0.03)
    assert table["flat"].tolist() == [True, True]
    assert drawn.chart["layer"][0]["mark"]["interpolate"] == "step-after"
    assert caption.startswith("From 1 query at once (20 tokens/s a user")
    assert "Too few queries" not in text


def test_no_point_is_drawn_of_too_few_queries(run):
    table = sweep_table(run).drop(columns="user_p90_tokens_per_s")
    assert curve.points(table, table[[]], 1).empty
    short = sweep_table(run).assign(reached=1)
    assert "Too few queries for 2 at once" in concurrency.parts(run, short)[0]
    assert concurrency.parts(run, sweep_table(run)[:0]) == []


def test_a_report_has_it_without_any_rate(run):
    parts = Report(run).extra_tests().parts
    assert sum("TTFT counts from the sending" in str(part) for part in parts) == 1
