"""A folder of runs over time: histories, changes of level, and the page."""

import shutil

import numpy as np
import pytest
from bs4 import BeautifulSoup
from helpers import (
    DATASET,
    ENVIRONMENT,
    MODEL,
    RESULT,
    ROOT,
    draws,
    make_records,
    write_facts,
    write_test,
)

from loadgen_study import RunParams, cli
from loadgen_study.report.figures.history import history_figure
from loadgen_study.runs.history import read_histories
from vllm_loadgen import ParameterError

pytestmark = pytest.mark.slow

RUNS, STEP = 24, 14


def write_run(folder, day, speed, params=None, **facts):
    """A run of 64 queries in a row, each of 1 s / speed."""
    params = params or RunParams(dataset="embedded")
    write_facts(folder, params, **facts)
    rows = [(i, i, i, i + 0.2 / speed, i + 1 / speed, 50, 11) for i in range(64)]
    begun = f"2026-11-{day:02}T10:00:00+00:00"
    write_test(folder / "performance", RESULT | {"started_at": begun}, make_records(rows))


@pytest.fixture
def runs(tmp_path):
    """Runs of which the speed falls by 5 % at STEP; from 18 on, another torch."""
    noise = 0.01 * np.random.default_rng(1).standard_normal(RUNS)
    for i in range(RUNS):
        torch = {"packages": ENVIRONMENT["packages"] | {"torch": "2.14.0" if i >= 18 else "2.13.0"}}
        speed = (0.95 if i >= STEP else 1.0) * (1 + noise[i])
        write_run(tmp_path / f"r{RUNS - i:02}", i + 1, speed, environment=torch)
    return tmp_path


def test_a_step_is_found_and_dated(runs):
    (history,), left_out = read_histories(str(runs))
    assert left_out == {}
    # By date, whatever the folders are called.
    assert [one.digest.name for one in history.entries][:2] == ["r24", "r23"]
    found = {one.metric: one for one in history.changes()}
    assert found.keys() == {"ttft_p90", "tpot_p90"}  # the rate of a Server test is that offered
    change = found["tpot_p90"]
    assert abs(history.number(change.at) - (STEP + 1)) <= 2
    assert change.decision.outcome == "worse"
    assert change.decision.low < 1 / 0.95 - 1 < change.decision.high  # the TPOT itself rises


def test_a_point_has_its_run_and_its_level(runs):
    (history,), _ = read_histories(str(runs))
    points = history.points()
    tpot = points[points["metric"] == "tpot_p90"]
    assert tpot["run"].tolist() == list(range(1, RUNS + 1))
    assert tpot["level"].nunique() == 2
    assert tpot["commit"].unique().tolist() == ["ab12 (changed)"]
    first = tpot.iloc[0]
    assert first["next_low"] < first["level"] < first["next_high"]
    assert "score" not in set(points["metric"])  # nothing was scored


def test_new_software_is_a_row_and_the_commit_is_none(runs):
    (history,), _ = read_histories(str(runs))
    (row,) = history.replaced().to_dict("records")
    assert (row["run"], row["what"]) == (19, "version of torch")
    assert (row["before"], row["now"]) == ("2.13.0", "2.14.0")
    figure = history_figure(history)
    assert draws(figure)
    assert "version of torch" in figure.chart["datasets"]["replaced"]


def test_repeats_of_a_run_are_one_point_with_an_interval(tmp_path):
    write_run(tmp_path / "a", 1, 1.0)
    for number, speed in ((2, 1.1), (3, 0.9)):
        write_run(tmp_path / "b", 1, speed)
        shutil.move(tmp_path / "b" / "performance", tmp_path / "a" / f"performance-{number}")
    shutil.rmtree(tmp_path / "b")
    (history,), _ = read_histories(str(tmp_path))
    point = history.points().set_index("metric").loc["tpot_p90"]
    assert point["low"] < point["value"] < point["high"]
    assert point["value"] == pytest.approx(np.mean([80 / s for s in (1.0, 1.1, 0.9)]))


def test_other_models_and_prompts_are_histories_of_their_own(runs):
    write_run(runs / "other", 25, 1.0, model={**MODEL, "name": "larger"})
    write_run(runs / "data", 26, 1.0, dataset={**DATASET, "prompts_sha256": "ff"})
    histories, _ = read_histories(str(runs))
    assert [len(one.entries) for one in histories] == [RUNS, 1, 1]
    assert {one.name.split(",")[0] for one in histories[1:]} == {"larger", MODEL["name"]}


def test_the_page_holds_each_history(runs, capsys):
    write_run(runs / "other", 25, 1.0, model={**MODEL, "name": "larger <b>"})
    write_facts(runs / "empty", RunParams())
    shutil.copy(ROOT / "README.md", runs)
    page = runs / "history.html"
    assert cli.main(["history", str(runs), "-o", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    titles = [heading.get_text().removesuffix("#") for heading in soup.find_all("h2")]
    assert [title.split(",")[0] for title in titles] == ["History", MODEL["name"], "larger <b>"]
    assert len(soup.select("script.chart")) == 1
    assert soup.select_one("img")["alt"].endswith("changes of level.")
    assert "Left out: empty" in soup.get_text()
    assert "2 histories" in soup.get_text()
    rows = soup.select("table")[0].select("tbody tr")
    assert {row.find("th").get_text() for row in rows} == {"TTFT p90, ms", "TPOT p90, ms"}


def test_a_history_of_one_run_says_so(tmp_path):
    write_run(tmp_path / "runs" / "a", 1, 1.0)
    page = tmp_path / "page.html"
    assert cli.main(["history", str(tmp_path / "runs"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "a history needs two runs" in text
    assert 'class="chart"' not in text


@pytest.mark.parametrize(
    ("name", "problem"),
    [("", "holds no run with a finished"), ("missing", "is not a folder")],
)
def test_a_folder_without_runs_is_one_line(tmp_path, capsys, name, problem):
    assert cli.main(["history", str(tmp_path / name)]) == 1
    assert problem in capsys.readouterr().err
    with pytest.raises(ParameterError):
        read_histories(str(tmp_path / name))


def test_zips_are_read_and_a_damaged_one_is_left_out(tmp_path):
    write_run(tmp_path / "made" / "a", 1, 1.0)
    folder = tmp_path / "zips"
    folder.mkdir()
    target = ["bundle", str(tmp_path / "made" / "a"), "--out", str(folder / "a.zip")]
    assert cli.main(target) == 0
    (folder / "b.zip").write_bytes(b"PK")
    (history,), left_out = read_histories(str(folder))
    assert len(history.entries) == 1
    assert left_out.keys() == {"b.zip"}
