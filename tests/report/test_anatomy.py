import shutil

import pandas as pd

from loadgen_study.analysis.anatomy import Anatomy, NoAnatomy
from loadgen_study.report import anatomy

STEPS = pd.DataFrame(
    {
        "time_s": [1.0, 2.0, 3.0],
        "prefill_tokens": [100, 0, 0],
        "decode_tokens": [0, 2, 2],
        "duration_ms": [1000.0, 500.0, 300.0],
        "least_ms": [500.0, 100.0, 400.0],
        "computing": [True, False, False],
    }
)
FOUND = Anatomy(
    whole_s=4.0, least_s=1.0, slow_s=0.8, gap_s=0.2, idle_s=2.0, gaps_told=True, steps=STEPS
)


def test_the_text_says_where_the_time_went():
    said = anatomy.text(FOUND)
    assert "share of its limit: 25 %" in said
    assert "Its 3 steps" in said
    assert "0.8 s went into steps beyond their least time, 0.2 s passed between steps" in said
    assert "for 2.0 s there was none" in said
    assert "1 step took less than their least time" in said
    assert "prepared each" not in said
    assert "prepared each" in anatomy.text(Anatomy(**vars(FOUND) | {"gaps_told": False}))


def test_the_table_sets_each_kind_of_step_against_its_limit():
    table = anatomy.table(FOUND)
    assert table["of the test"].tolist() == ["20%", "25%", "5%", "50%", "100%"]
    assert table.loc["steps that decode alone", "of its limit"] == "62 %"
    assert table.loc["steps with prefill", "of its limit"] == "50 %"
    assert table.loc["the whole test", "of its limit"] == "25 %"
    assert table.loc["no query there", "steps"] == ""
    decode_alone = Anatomy(**vars(FOUND) | {"steps": STEPS[1:]})
    assert anatomy.table(decode_alone).loc["steps with prefill", "mean, ms"] == ""


def test_the_caption_says_what_sets_the_limit():
    assert "sets it for 67% of the steps and the matrix rate for 33%" in anatomy.caption(FOUND)


def test_of_many_steps_some_are_drawn_and_the_caption_says_so(monkeypatch):
    monkeypatch.setattr(anatomy, "MOST_POINTS", 2)
    assert len(anatomy.shown(FOUND)) == 2
    assert "Shown are 2 of 3 steps" in anatomy.caption(FOUND)


def test_without_an_anatomy_there_is_one_sentence():
    (said,) = anatomy.parts(NoAnatomy("it was made before"))
    assert said == "The steps of this test cannot be set against the limits: it was made before."


def test_a_report_of_a_run_without_tokens_of_its_steps_says_why(tmp_path):
    from helpers import ROOT

    from loadgen_study import Run
    from loadgen_study.facts.tables import read_frame, write_frame
    from loadgen_study.report.report import Report

    run = tmp_path / "run"
    shutil.copytree(ROOT / "tests/golden/runs/default", run)
    steps = run / "performance" / "engine_steps.parquet"
    write_frame(steps, read_frame(steps).drop(columns=["prefill_tokens", "decode_tokens"]))
    shown = Report(Run.open(run)).limits().parts[-1]
    assert "before the tokens of each step were noted" in shown
