"""The figures, as far as no browser is needed: what they hold, that they draw."""

import io
import json

import nbformat
import pandas as pd
import pytest
from helpers import GPU, LIMITS, RESULT, STEPS, SWEEP, draws, imitated, make_records, seed_records

from loadgen_study.report import embed
from loadgen_study.report.figures import base, machine, queries, runs
from loadgen_study.report.figures.base import VEGALITE, extremes, thin

pytestmark = pytest.mark.slow

UNFINISHED = make_records([(0, 0, 0, 0.1, 1.0, 9, 5), (1, 1, None, None, None, 9, 0)])
MANY = make_records(
    [(i * 0.01, i * 0.01, None, i * 0.01 + (3 if i % 100 == 7 else 0.1), i * 0.01 + 4, 9, 50)
     for i in range(26_736)]
)  # fmt: skip
NONE = make_records([])
STEPS_AGAINST_LIMITS = pd.DataFrame({
    "time_s": [1.0, 2.0, 3.0], "prefill_tokens": [100, 0, 0], "decode_tokens": [0, 2, 2],
    "duration_ms": [1000.0, 500.0, 300.0], "least_ms": [500.0, 100.0, 400.0],
    "computing": [True, False, False],
})  # fmt: skip


def carried(figure):
    """The chart of a figure that can be drawn."""
    assert draws(figure)
    return figure.chart


def table(chart, name):
    return pd.read_csv(io.StringIO(chart["datasets"][name]))


@pytest.mark.parametrize(
    ("scenario", "records"),
    [("Server", seed_records()), ("Offline", seed_records(started=False)),
     ("SingleStream", UNFINISHED)],
    ids=["Server", "Offline", "SingleStream"],
)  # fmt: skip
def test_every_chart_of_queries_compiles(records, scenario):
    test = imitated(records, {**RESULT, "scenario": scenario})
    kinds = [queries.over_test, queries.arrivals, queries.lengths]
    if scenario != "Offline":
        kinds.append(queries.judged_latencies)
    for drawn in kinds:
        assert carried(drawn(test))["usermeta"]["embedOptions"]["actions"]["editor"] is False


def test_the_steps_of_an_anatomy_are_what_the_picture_shows():
    chart = carried(machine.steps(STEPS_AGAINST_LIMITS))
    rows = table(chart, "steps")
    assert rows["took_ms"].tolist() == [1000.0, 500.0, 300.0]
    assert rows["prefill_percent"].tolist() == [100.0, 0.0, 0.0]
    assert rows["bound_by"].tolist() == ["matrix rate", "memory bandwidth", "memory bandwidth"]


def test_a_query_tells_its_stamps_and_its_article():
    chart = carried(queries.over_test(imitated(seed_records())))
    last = table(chart, "queries").iloc[-1]
    assert last[["due_s", "answer_tokens", "over"]].tolist() == [38.0, 129, "TTFT"]
    # Its wait of 0.941 * 19 s, and 0.13 s of prefill.
    assert last["ttft_ms"] == pytest.approx(18_012, abs=0.5)
    assert last["article"].endswith(" ...")


def test_a_large_run_is_thinned_to_what_matters_and_says_so():
    test = imitated(MANY)
    drawn = queries.queries(test)
    assert len(drawn) == 2000
    # All 268 that were over the limit of 2 s, and the timeline's unbroken stretch.
    assert (drawn["over"] == "TTFT").sum() == 268
    first, last = queries.stretch(26_736)
    assert set(range(first, last + 1)) <= set(drawn["query"])
    assert queries.queries(test).equals(drawn)
    assert "2000 of 26,736 queries" in queries.timeline_caption(test)
    assert "Drawn" not in queries.timeline_caption(imitated(seed_records()))
    assert len(json.dumps(carried(queries.over_test(test)))) < 400_000
    bars = table(carried(queries.judged_latencies(test)), "latencies")
    assert bars.query("of == 'ttft'")["queries"].sum() == 26_736


def test_every_colour_stands_out_from_white_and_from_the_dark_page():
    def light(color):
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return sum(v * by for v, by in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))

    for color in (base.BLUE, base.ORANGE, base.GREEN, base.PINK, base.RED, base.GREY,
                  *queries.PARTS.values()):  # fmt: skip
        for page in ("#ffffff", "#15191f"):  # report.css
            low, high = sorted([light(color), light(page)])
            assert (high + 0.05) / (low + 0.05) >= 3, (color, page)


@pytest.mark.parametrize(
    ("scenario", "judged", "others"),
    [("Server", ["ttft", "tpot"], []), ("SingleStream", ["latency"], ["ttft", "tpot"]),
     ("Offline", [], ["ttft", "tpot"])],
)  # fmt: skip
def test_no_distribution_is_drawn_twice(scenario, judged, others):
    test = imitated(seed_records(), {**RESULT, "scenario": scenario})
    chart = carried(queries.over_test(test))
    below = table(chart, "latencies")["of"].unique().tolist() if others else []
    assert below == others
    assert ("latencies" in chart["datasets"]) == bool(others)
    assert list(test.result.scenario_traits.judged) == judged
    if judged:
        above = carried(queries.judged_latencies(test))
        assert table(above, "latencies")["of"].unique().tolist() == judged


def test_thinning_keeps_its_bounds():
    frame = pd.DataFrame({"x": range(100)})
    none, every = frame["x"] < 0, frame["x"] >= 0
    assert thin(frame, none, 100) is frame
    assert thin(frame, every, 10)["x"].tolist()[:1] + thin(frame, every, 10)["x"].tolist()[-1:] == [
        0, 99]  # fmt: skip
    assert len(thin(frame, frame["x"] < 7, 10)) == 10
    assert set(range(7)) < set(thin(frame, frame["x"] < 7, 10)["x"])


def test_extremes_of_a_course_are_kept():
    course = pd.DataFrame({"y": [0] * 5000})
    course.loc[[1234, 4321], "y"] = [9, -9]
    kept = extremes(course, "y", 50)
    assert len(kept) <= 102
    assert {1234, 4321, 0, 4999} <= set(kept.index)


@pytest.mark.parametrize("tables", [{}, {"engine_steps": STEPS, "telemetry": GPU}],
                         ids=["nothing more", "all"])  # fmt: skip
def test_all_panels_share_the_axis_that_is_dragged(tables):
    chart = carried(machine.over_time(imitated(seed_records(), **tables)))
    _, below = chart["vconcat"]
    assert below["resolve"]["scale"]["x"] == "shared"
    assert len(below["vconcat"]) == (9 if tables else 2)
    for panel in below["vconcat"]:
        domain = panel["layer"][0]["encoding"]["x"]["scale"]["domain"]
        assert domain == {"param": "time"}


def test_a_point_of_a_sweep_tells_its_test():
    points = SWEEP.assign(tpot_mean_ms=9.0).rename_axis("test")
    chart = carried(runs.sweep(points, LIMITS, 0.9))
    shown = chart["concat"][0]["layer"][-1]["encoding"]["tooltip"]
    assert {"test", "part", "offered", "verdict", "ttft"} <= {tip["field"] for tip in shown}
    assert len(table(chart, "sweep")) == len(points)


def shown_notebook(*figures):
    cell = nbformat.v4.new_code_cell("shown")
    for shown in figures:
        data = {"image/png": "cGljdHVyZQ==", VEGALITE: shown.chart}
        cell.outputs.append(nbformat.v4.new_output("display_data", data))
    return nbformat.v4.new_notebook(cells=[cell])


def test_the_page_holds_each_table_once_and_nothing_that_ends_a_script():
    test = imitated(seed_records())
    drawn = [queries.arrivals(test) for _ in range(2)]
    drawn[0].chart["title"] = "</script><img>"
    notebook = shown_notebook(*drawn)
    tables = embed.take_charts(notebook)
    assert list(tables) == ["load-0"]
    pictures = notebook.cells[0].outputs[::2]
    assert [list(output.data) for output in pictures] == [["image/png"]] * 2
    behind = notebook.cells[0].outputs[1].data["text/html"]
    assert behind.count("</script>") == 1
    assert "\\u003cimg>" in behind
    assert '"datasets":{"load":"load-0"}' in behind


def test_downloads_that_do_not_fit_are_named(tmp_path):
    notebook = tmp_path / "analysis.ipynb"
    nbformat.write(shown_notebook(queries.arrivals(imitated(seed_records()))), notebook)
    links = embed.downloads(tmp_path, notebook)
    assert 'download="analysis.ipynb"' in links
    assert "cGljdHVyZQ" not in links
    (tmp_path / "params.yaml").write_text("model: /home/x\n")
    links = embed.downloads(tmp_path, notebook, 100)
    assert "model: /home/x" in links  # where a search for paths finds it
    assert "Too large for this file: analysis.ipynb." in links
