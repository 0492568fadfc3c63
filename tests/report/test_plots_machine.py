import math

import pandas as pd
import pytest
from helpers import GPU, MACHINE, STEPS, draws, imitated, seed_records

from loadgen_study.analysis.roofline import Roofline
from loadgen_study.report import charts_machine, plots_machine


def drawn(**tables):
    return plots_machine.over_time(imitated(seed_records(), **tables))


@pytest.mark.parametrize(
    ("tables", "panels"),
    [({}, 2), ({"engine_steps": STEPS}, 4), ({"engine_steps": STEPS, "telemetry": GPU}, 10)],
    ids=["nothing more", "steps", "steps and GPU"],
)
def test_over_time_has_a_panel_for_all_that_was_told(tables, panels):
    figure = drawn(**tables)
    assert draws(figure)
    assert sum(axis.get_visible() for axis in figure.axes) == panels


def test_occupancy():
    caption = plots_machine.occupancy_caption(imitated(seed_records(), engine_steps=STEPS))
    assert "In 3 steps 1.0 queries ran at once on average and 3 at most" in caption
    assert "25.0% full at most, and 1 time a query lost its place in it." in caption
    assert "tells nothing" in plots_machine.occupancy_caption(imitated(seed_records()))


def test_machine_with_and_without_a_gpu():
    assert "90% busy on average, 80% with this benchmark" in plots_machine.machine_caption(MACHINE)
    caption = plots_machine.machine_caption(GPU)
    assert "busiest GPU was busy 75% of the time, 12.0 GiB and 300 W" in caption
    assert "held down in 50% of the samples" in caption
    partly = GPU.drop(columns=["gpu_share", "gpu_temperature_c"])
    assert draws(drawn(telemetry=partly))
    assert "at most; 12.0 GiB and 300 W at most" in plots_machine.machine_caption(partly)
    assert "too short" in plots_machine.machine_caption(pd.DataFrame())


def test_a_server_whose_process_is_not_found():
    unknown = MACHINE.assign(own_cpu_share=math.nan, own_memory_gib=math.nan,
                             server_cpu_share=math.nan)  # fmt: skip
    figure = drawn(telemetry=unknown)
    assert draws(figure)
    assert [axis.get_title() for axis in figure.axes[2:] if axis.get_visible()] == ["CPU"]
    chart, tables = charts_machine.over_time(imitated(seed_records(), telemetry=unknown))
    assert list(tables["machine"]) == ["time_s", "cpu_percent"]
    assert "own_" not in chart.to_json()
    caption = plots_machine.machine_caption(unknown)
    assert caption.endswith("90% busy on average; the server's share of it is not known.")


def test_the_server_counts_as_the_benchmark():
    caption = plots_machine.machine_caption(MACHINE.assign(server_cpu_share=0.5))
    assert "80% with this benchmark and the server, which held" in caption


def test_roofline_places_the_run():
    unknown = dict.fromkeys(Roofline.__annotations__, math.nan)
    found = Roofline(**unknown | {"decode_limit_ms": 10.0, "decode_computing_ms": 4.0,
                                  "weights_ms": 8.0, "kv_ms": 0.5, "batch": 4.0,
                                  "experts_ms": 0.0, "expert_share": 0.0})  # fmt: skip
    axis = plots_machine.roofline(found, 20.0).axes[0]
    assert axis.lines[-1].get_xydata().tolist() == [[4.0, 200.0]]  # 4 tokens in 20 ms
    assert axis.lines[1].get_ydata()[0] == pytest.approx(1000)  # 4 tokens in 4 ms
    assert axis.lines[0].get_ydata()[0] == pytest.approx(1 / 8.5e-3)
    caption = plots_machine.roofline_caption(found, 20.0)
    assert "200 tokens/s while 4.0 queries decode at once" in caption
    assert "would allow 400 at that batch" in caption  # 4 tokens in 10 ms
