"""What a reader sees of runs in a notebook: side by side, brushed, under other limits."""

import pandas as pd
import pytest
from helpers import RESULT, seed_records, write_facts, write_test

import loadgen_study
from loadgen_study import Run, RunParams
from loadgen_study.facts.results import Summary
from loadgen_study.report import workbench


@pytest.fixture
def outputs(tmp_path):
    for name in ("one", "two"):
        folder = write_facts(tmp_path / name, RunParams())
        write_test(folder / "performance", RESULT, seed_records())
    write_facts(tmp_path / "bare", RunParams())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "params.yaml").write_text("target_qps: [")
    return tmp_path


def test_a_table_of_runs_names_what_cannot_be_read(outputs):
    table = workbench.runs_table(workbench.run_folders(str(outputs)))
    assert set(table.index) == {"one", "two", "bare", "broken"}
    assert table.loc["one", "samples/s"] > 0
    assert table.loc["bare", "problem"] == "no performance test"
    assert "params.yaml" in table.loc["broken", "problem"]


def test_limits_that_move_count_the_queries_anew(outputs):
    run = Run.open(outputs / "one")
    ttft = run.performance.latencies["ttft_ms"]
    limit = float(ttft.median())
    table = workbench.within_table([run], {"ttft": limit, "tpot": 0.0})
    assert table.loc["one", f"TTFT within {limit:g} ms, %"] == pytest.approx(
        100 * (ttft <= limit).mean(), abs=0.05
    )
    none = workbench.within_table([run], {"ttft": 1e-3, "tpot": 0.0})
    assert none.loc["one", "goodput, queries/s"] == 0


def test_a_chart_has_every_query_or_says_the_extremes(outputs, monkeypatch):
    run = Run.open(outputs / "one")
    chart = workbench.queries_chart([run, Run.open(outputs / "two")]).to_dict()
    (values,) = chart["datasets"].values()
    assert len(values) == 2 * len(run.performance.latencies)
    monkeypatch.setattr(workbench, "MOST_QUERIES", 5)
    (values,) = workbench.queries_chart([run]).to_dict()["datasets"].values()
    drawn = pd.DataFrame(values)["ttft_ms"]
    assert len(drawn) == 5
    assert drawn.max() == pytest.approx(run.performance.latencies["ttft_ms"].max(), abs=1e-3)


def test_the_dashboard_shows_what_its_widgets_ask(outputs):
    board = workbench.Dashboard({name: outputs / name for name in ("one", "two")})
    shown = lambda place: str(place.outputs)  # noqa: E731
    assert board.picked.value == ("one", "two")
    assert "TTFT within 2000 ms" in shown(board._within)
    board.limits["ttft"].value = 10.0
    assert "TTFT within 10 ms" in shown(board._within)
    board.value.value = "tpot_ms"
    assert "TPOT, ms" in shown(board._chart)
    board.picked.value = ()
    assert board._chart.outputs == ()


def test_explore_without_a_run_says_so(tmp_path, capsys):
    loadgen_study.explore(str(tmp_path))
    assert "has a performance test yet" in capsys.readouterr().out


def test_a_run_shows_itself_and_escapes_what_it_says(outputs):
    run = Run.open(outputs / "one")
    assert "has no test yet" in run._repr_html_()
    tests = {"performance": run.performance.summary()}
    Summary(**tests).write(run.folder / "summary.json")
    assert f"<td>{run.performance.result.verdict}</td>" in Run.open(run.folder)._repr_html_()
    folder = write_facts(outputs / "<b>x", RunParams())
    assert "&lt;b&gt;x" in Run.open(folder)._repr_html_()
