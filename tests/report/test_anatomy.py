import shutil

import pandas as pd

from loadgen_study.analysis.anatomy import Anatomy, NoAnatomy
from loadgen_study.report.sections import anatomy

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
    whole_s=4.0, least_s=1.0, slow_s=0.8, gap_s=0.2, idle_s=2.0, gaps_known=True, steps=STEPS
)


def test_the_text_says_what_share_of_the_limit_is_reached():
    said = anatomy.text(FOUND)
    assert "Share of the limit over the whole test: 25 %" in said
    assert "3 steps that take at least 1.0 s, in a test of 4.0 s" in said
    assert "1 step took less" in said
    assert "prepared each" not in said
    assert "prepared each" in anatomy.text(Anatomy(**vars(FOUND) | {"gaps_known": False}))


def test_the_tables_have_the_time_and_each_kind_of_step_against_its_limit():
    time = anatomy.time_table(FOUND)
    assert time["of the test"].tolist() == ["20 %", "25 %", "5 %", "50 %", "100 %"]
    assert time.loc["idle", "seconds"] == "2.0"
    assert anatomy.steps_table(FOUND)["of their limit"].tolist() == ["62 %", "50 %", "56 %"]
    decode_alone = Anatomy(**vars(FOUND) | {"steps": STEPS[1:]})
    assert anatomy.steps_table(decode_alone).index.tolist() == ["decode only", "all"]


def test_the_caption_says_what_sets_the_limit():
    assert "67 % of the steps and by compute in 33 %" in anatomy.caption(FOUND)


def test_of_many_steps_some_are_drawn_and_the_caption_says_so(monkeypatch):
    monkeypatch.setattr(anatomy, "MOST_POINTS", 2)
    assert len(anatomy.shown(FOUND)) == 2
    assert "Shown: 2 of 3 steps" in anatomy.caption(FOUND)


def test_without_an_anatomy_there_is_one_sentence():
    (said,) = anatomy.parts(NoAnatomy("it was made before"))
    assert said == "No analysis of the steps: it was made before."


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
    assert "before the tokens of each step were recorded" in shown
