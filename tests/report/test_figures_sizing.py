"""Replicas as Vega computes them in the page, against Python; and replicas of echo engines."""

import json
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
import vl_convert
from helpers import ROOT, echo_params, write_articles

from loadgen_study import LiveRun, Run, cli
from loadgen_study.analysis.sizing import Demand, Replica, size
from loadgen_study.report.figures import sizing as figure
from loadgen_study.report.sections import sizing
from loadgen_study.runs.sweep import sweep

pytestmark = pytest.mark.slow

NAN = float("nan")
POINTS = pd.DataFrame(
    [(2.0, 1.9, 2.1, 1.0, 300.0, 20.0, 0.0), (4.0, 3.6, 4.1, 2.0, 800.0, 30.0, 0.0),
     (5.0, NAN, 6.0, 9.0, 5000.0, 60.0, 0.0), (5.5, NAN, 7.0, 9.0, NAN, NAN, 0.0)],
    columns=["rate_per_s", "low_per_s", "offered_per_s", "latency_s", "ttft_ms", "tpot_ms",
             "closed"],
)  # fmt: skip
LIMITS = {"ttft_limit_ms": 1000.0, "tpot_limit_ms": 100.0}
EXPLORED = ROOT / "tests" / "golden" / "runs" / "explore"


def texts(points, replica, **values):
    """What the chart writes for these inputs, by the names of its lines."""
    chart = json.loads(json.dumps(figure.chart(points, replica, LIMITS).chart))
    for param in chart["params"]:
        param["value"] = values.get(param["name"], param["value"])
    drawn = ET.fromstring(vl_convert.vegalite_to_svg(chart, vl_version="5.20"))
    nodes = [node for node in drawn.iter() if node.tag.endswith("}text")]
    found = [figure.SEPARATOR.join(node.itertext()) for node in nodes]
    names = [text for text in found if text in figure.NAMES]
    return dict(zip(names, [text for text in found if text not in figure.NAMES], strict=True))


def python_says(points, devices, inputs):
    replica = Replica(devices, 123.4, inputs["price"], inputs["device_watts"])
    demand = Demand(inputs["qps"], inputs["users"], inputs["think_s"])
    try:
        found = size(points, demand, replica, inputs["ttft_limit"], inputs["tpot_limit"])
    except ValueError:
        return dict.fromkeys(figure.NAMES, figure.NO_DEMAND)
    return figure.said(found)


INPUTS = {"qps": 20.0, "users": 0, "think_s": 10.0, "ttft_limit": 1000.0, "tpot_limit": 100.0,
          "price": 3.0, "device_watts": 250.0}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"qps": 0.5}, {"qps": 8.0}, {"qps": 0.0, "users": 1000}, {"users": 7, "think_s": 0.0},
        {"ttft_limit": 300.0}, {"ttft_limit": 299.0}, {"tpot_limit": 25.0},
        {"ttft_limit": 9000.0}, {"price": 0.0}, {"device_watts": 0.0, "price": 12345.678},
        {"qps": 22.0, "ttft_limit": 9000.0}, {"qps": 0.0}, {"qps": -1.0},
        {"price": -1.0}, {"think_s": -2.0}, {"qps": 123456.0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("closed", [0.0, 1.0])
def test_vega_and_python_say_the_same(changes, closed):
    inputs, points = INPUTS | changes, POINTS.assign(closed=closed)
    shown = texts(points, Replica(2, 123.4), **inputs)
    assert shown == python_says(points, 2, inputs)


def test_an_input_gives_text_and_may_be_empty():
    typed = {name: str(value) for name, value in INPUTS.items()}
    assert texts(POINTS, Replica(2, 123.4), **typed) == python_says(POINTS, 2, INPUTS)
    empty = texts(POINTS, Replica(2, 123.4), **typed | {"qps": "", "price": ""})
    assert set(empty.values()) == {figure.NO_DEMAND}


def test_the_chart_of_a_search_begins_with_the_runs_own_limits():
    run = Run.open(EXPLORED)
    points = sizing.points_of(run)
    assert sizing.limits_of(run, points) == {"ttft_limit_ms": 500.0, "tpot_limit_ms": 100.0}
    drawn, said = sizing.parts(run)
    values = {param["name"]: param["value"] for param in drawn.chart["params"]}
    assert (values["ttft_limit"], values["users"]) == (500.0, 0)
    assert "Power was not measured" in said


def test_a_run_at_one_rate_has_no_chart(capsys):
    path = str(ROOT / "tests" / "golden" / "runs" / "default")
    assert sizing.parts(Run.open(path)) == []
    assert cli.main(["size", path, "--qps", "5"]) == 1
    assert "was measured at fewer than two rates" in capsys.readouterr().err


def test_the_console_has_the_charts_lines(capsys):
    command = ["size", str(EXPLORED), "--qps", "20", "--price", "2.5", "--watts", "300"]
    assert cli.main([*command, "--ttft", "800"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(figure.NAMES)
    run = Run.open(EXPLORED)
    limits = {"ttft_limit_ms": 800.0, "tpot_limit_ms": 100.0}
    tokens = run.performance.metrics.output_tokens.mean
    replica = Replica(1, tokens, 2.5, 300.0)
    found = size(sizing.points_of(run), Demand(20.0), replica, **limits)
    assert lines == [f"{name}: {text}" for name, text in figure.said(found).items()]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "qps = 0: there is no demand"),
        (["--qps", "0"], "qps = 0: there is no demand"),
        (["--qps", "-3"], "qps = -3.0: must be 0 or more"),
        (["--qps", "inf"], "qps = inf: must be 0 or more, and finite"),
        (["--qps", "5", "--price", "-1"], "price_per_hour = -1.0: must be 0 or more"),
        (["--users", "5", "--think", "nan"], "think = nan: must be 0 or more"),
    ],
)
def test_no_demand_and_a_negative_number_are_one_line(capsys, flags, said):
    assert cli.main(["size", str(EXPLORED), *flags]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.quiet
def test_two_replicas_carry_twice_what_one_does(tmp_path):
    """Of 4 slots and 50 ms a query one replica serves 80 queries/s at most; two share 8 slots."""
    made = {}
    for replicas in (1, 2):
        params = echo_params(
            dataset=str(write_articles(tmp_path / "a.jsonl", 64)), outputs=str(tmp_path),
            run_name=f"r{replicas}", max_new_tokens=8, min_query_count=200, ttft_limit_ms=300,
            sweep_qps=[50.0 * replicas, 120.0 * replicas],
            engine_options={"slots": 4 * replicas, "ttft_ms": 10, "tpot_ms": 5.7},
        )  # fmt: skip
        with LiveRun.start(params) as run:
            sweep(run)
            made[replicas] = sizing.points_of(run.read())
    one, two = made[1], made[2]
    found = size(one, Demand(90.0), Replica(1, 8.0), 300.0, 100.0)
    assert found.replicas == 2
    held = size(two, Demand(90.0), Replica(1, 8.0), 300.0, 100.0)
    assert held.replicas == 1
    assert held.per_s == pytest.approx(2 * found.per_s, rel=0.1)
