import math

import pandas as pd
import pytest
from helpers import draws

from vllm_loadgen.analysis.roofline import Roofline
from vllm_loadgen.report import plots_machine

STEPS = pd.DataFrame(
    {
        "time_s": [0.0, 0.5, 1.0, 1.5],
        "running": [1, 3, 2, 0],
        "waiting": [0, 2, 0, 0],
        "preempted": [0, 1, 0, 0],
        "kv_cache_share": [0.1, 0.25, 0.2, 0.0],
    }
)
MACHINE = pd.DataFrame(
    {
        "time_s": [1.0, 2.0],
        "cpu_share": [0.8, 1.0],
        "own_cpu_share": [0.7, 0.9],
        "steal_share": [0.0, 0.0],
        "own_memory_gib": [2.0, 3.0],
    }
)
GPU = MACHINE.assign(
    gpu_share=[0.5, 1.0], gpu_memory_gib=[10.0, 12.0], gpu_power_w=[200.0, 300.0],
    gpu_temperature_c=[50, 60], gpu_throttled=[0.0, 1.0],
)  # fmt: skip


def test_occupancy():
    assert draws(plots_machine.occupancy(STEPS))
    caption = plots_machine.occupancy_caption(STEPS)
    assert "In 3 steps 2.0 queries ran on average and 3 at most" in caption
    assert "25.0% full at most, and 1 query evicted from it." in caption
    assert "tells nothing" in plots_machine.occupancy_caption(pd.DataFrame())


def test_machine_with_and_without_a_gpu():
    assert draws(plots_machine.machine_load(MACHINE))
    figure = plots_machine.machine_load(GPU)
    assert draws(figure)
    assert len(figure.axes) == 6
    assert "90% busy on average, 80% with this benchmark" in plots_machine.machine_caption(MACHINE)
    caption = plots_machine.machine_caption(GPU)
    assert "busiest GPU was busy 75% of the time, 12.0 GiB and 300 W" in caption
    assert "held down in 50% of the samples" in caption
    partly = GPU.drop(columns=["gpu_share", "gpu_temperature_c"])
    assert draws(plots_machine.machine_load(partly))
    assert "at most; 12.0 GiB and 300 W at most" in plots_machine.machine_caption(partly)
    assert "too short" in plots_machine.machine_caption(pd.DataFrame())


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
