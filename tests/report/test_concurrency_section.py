"""The curve of a run that was measured at fixed numbers of queries at once."""

import pytest
from helpers import RESULT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.report.figures import curve
from loadgen_study.report.report import Report
from loadgen_study.report.sections import concurrency
from loadgen_study.report.sections.concurrency import Others
from loadgen_study.report.sections.sweep import limits_table
from loadgen_study.rules.rule import Rule
from loadgen_study.runs.compare import digest
from loadgen_study.runs.curve_points import NamedPoint, points_of
from loadgen_study.runs.sweep import sweep_table

OFFLINE = RESULT | {"scenario": "Offline"}
POINT = {"model": "smollm2-135m-instruct", "data": "embedded", "tokens_per_s_per_device": 12.0,
         "tpot_p90_ms": 40.0, "ttft_p90_ms": 900.0, "source": "a paper"}  # fmt: skip


def written(folder, speed=1.0, **changes):
    """Two tests of 128 queries: with 1 and with 2 at once, which takes 1.5 times as long each."""
    write_facts(folder, RunParams(sweep_concurrency=[1, 2], **changes))
    for at_once, took_s in ((1, 2.0 / speed), (2, 3.0 / speed)):
        rows = []
        for number in range(128):
            sent = number // at_once * took_s
            rows.append((0, 0, sent, sent + took_s / 2, sent + took_s, 100, 21))
        records = make_records(rows)
        records["given_ns"] = records["started_ns"]
        records["sample_index"] %= 32
        asked = RunParams(scenario="Offline", concurrency=at_once)
        for name in ("performance", f"sweep/{at_once}-at-once"):
            test = write_test(folder / name, OFFLINE, records)
            (test / "params.yaml").write_text(asked.to_yaml(), encoding="utf-8")
    return Run.open(folder)


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "run")


def parts(run, rules=(), **others):
    table = sweep_table(run)
    return concurrency.parts(run, table, limits_table(run, table), rules, Others(**others))


def test_its_points_are_of_the_steady_part_and_counted_from_send(run):
    text, drawn, caption, _, _, table, *_ = parts(run)
    assert "TTFT counts from the sending" in text
    assert table.index.tolist() == [1, 2]
    assert table["sent_ttft_p90_ms"].tolist() == pytest.approx([1000, 1500])
    assert table["user_p90_tokens_per_s"].tolist() == pytest.approx([20, 1000 / 75])
    assert table["steady_tokens_per_s"].tolist() == pytest.approx([10.5, 14.0], rel=0.03)
    assert table["flat"].tolist() == [True, True]
    assert "tokens_per_price" not in table
    speed, ttft = drawn.chart["vconcat"]
    assert speed["layer"][0]["mark"]["interpolate"] == "step-after"
    assert ttft["layer"][0]["encoding"]["y"]["field"] == "sent_ttft_p90_ms"
    assert drawn.chart["resolve"]["scale"]["x"] == "shared"
    assert caption.startswith("From 1 query at once (20 tokens/s a user")
    assert "Too few queries" not in text


def test_a_price_gives_the_tokens_for_it(tmp_path):
    table = parts(written(tmp_path / "run", price_per_hour=7.2))[5]
    rate = table["steady_tokens_per_s"]
    assert table["tokens_per_price"].tolist() == pytest.approx([one * 500 for one in rate])


def test_no_point_is_drawn_of_too_few_queries(run):
    table = sweep_table(run).drop(columns="user_p90_tokens_per_s")
    assert points_of(run, table) == ()
    assert points_of(run, table[:0]) == ()
    short = sweep_table(run).assign(reached=1)
    limits = limits_table(run, short)
    assert "Too few queries for 2 at once" in concurrency.parts(run, short, limits, (), Others())[0]
    said = concurrency.parts(run, table, limits, (), Others())[1]
    assert said == "No curve is drawn: fewer than two points of this run have a p90 of TPOT."
    assert concurrency.parts(run, table[:0], limits, (), Others()) == []


def test_another_run_of_the_same_model_and_data_lies_over_it(run, tmp_path):
    faster = digest(written(tmp_path / "faster", speed=2.0))
    _, drawn, caption, left_out, *_ = parts(run, runs=[digest(run), faster])
    table = drawn.chart["datasets"]["curve"]
    assert "\nfaster,1," in table
    assert table.count("\nfaster,") == table.count("\nthis run,") == 2
    assert "1 other curve of the same model" in caption
    assert left_out == ""


def test_why_another_run_is_not_drawn(run, tmp_path):
    other = digest(written(tmp_path / "other", speed=2.0))
    unlike = other.conditions.model_copy(update={"prompts_sha256": "ff", "data_checksum": "dd"})
    _, drawn, _, left_out, *_ = parts(run, runs=[other.model_copy(update={"conditions": unlike})])
    assert left_out == "- Not drawn: other: other data."
    assert "other," not in drawn.chart["datasets"]["curve"]


def test_points_of_a_file_are_drawn_or_said_why_not(run):
    changes = ({}, {"tpot_p90_ms": 80.0}, {"model": "big"}, {"data": "news", "source": "a blog"})
    points = [NamedPoint(**POINT | each) for each in changes]
    _, drawn, _, left_out, *_ = parts(run, points=points)
    table = drawn.chart["datasets"]["curve"]
    assert table.count("\na paper,") == 2
    assert left_out.splitlines() == [
        "- Not drawn: a paper: other model (big), 1 point.",
        "- Not drawn: a blog: other data (news), 1 point.",
    ]


@pytest.mark.parametrize(("met", "apart"), [(True, False), (False, True)])
def test_mlperfs_results_are_drawn_only_with_a_run_that_meets_every_rule(run, met, apart):
    rules = [Rule("data", "Data", "actual", "required", met)]
    points = [NamedPoint(**POINT | {"source": "MLPerf Endpoints v1.0"})]
    _, drawn, _, said, alone, *_ = parts(run, rules, points=points)
    assert ("MLPerf Endpoints" in drawn.chart["datasets"]["curve"]) is not apart
    assert ("1 MLPerf result in a table alone" in said) is apart
    assert ("Unverified results have not been through" in said) is not apart
    assert alone.index.tolist() == ["MLPerf Endpoints v1.0"] * apart


def test_a_report_has_it_without_any_rate(run):
    found = Report(run).extra_tests().parts
    assert sum("TTFT counts from the sending" in str(part) for part in found) == 1


def test_a_curve_of_many_has_a_legend_and_of_one_none(run):
    own = points_of(run)
    for curves, legend in (({curve.OWN: own}, False), ({curve.OWN: own, "b": own}, True)):
        table = curve.points(curves, limits_table(run, sweep_table(run)))
        first = curve.curve(table).chart["vconcat"][0]["layer"][0]
        assert (first["encoding"]["color"]["legend"] is not None) is legend
