import io

import pandas as pd
import pytest

from vllm_loadgen.report import plots_machine as plots_system

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
SWEEP = pd.DataFrame(
    {
        "kind": ["rate", "rate", "concurrency"],
        "offered": [0.3, 0.6, 4],
        "samples_per_s": [0.3, 0.5, 0.6],
        "tokens_per_s": [30.0, 50.0, 60.0],
        "user_tokens_per_s": [30.0, 15.0, 18.0],
        "ttft_p99_ms": [400.0, 2500.0, 9000.0],
        "goodput_per_s": [0.3, 0.2, 0.6],
    }
)
LIMITS = {"ttft": 2000.0, "tpot": 100.0}


def draws(figure):
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=40)
    return image.getvalue().startswith(b"\x89PNG")


def test_occupancy():
    assert draws(plots_system.occupancy(STEPS))
    caption = plots_system.occupancy_caption(STEPS)
    assert "In 3 steps 2.0 queries ran on average and 3 at most" in caption
    assert "25.0% full at most, and 1 query lost its place in it." in caption
    assert "tells nothing" in plots_system.occupancy_caption(pd.DataFrame())


def test_machine_with_and_without_a_gpu():
    assert draws(plots_system.machine_load(MACHINE))
    figure = plots_system.machine_load(GPU)
    assert draws(figure)
    assert len(figure.axes) == 6
    assert "90% busy on average, 80% with this benchmark" in plots_system.machine_caption(MACHINE)
    caption = plots_system.machine_caption(GPU)
    assert "busiest GPU was busy 75% of the time, 12.0 GiB and 300 W" in caption
    assert "held down in 50% of the samples" in caption
    assert "too short" in plots_system.machine_caption(pd.DataFrame())


@pytest.mark.parametrize("limits_ms", [LIMITS, {"ttft": 0, "tpot": 0}], ids=["limits", "none"])
@pytest.mark.parametrize("kind", ["rate", "concurrency", "both"])
def test_sweep_curves(kind, limits_ms):
    table = SWEEP if kind == "both" else SWEEP[SWEEP["kind"] == kind]
    assert draws(plots_system.sweep_curves(table, limits_ms))
    caption = plots_system.sweep_caption(table, limits_ms)
    fastest = "0.6 queries/s offered" if kind == "rate" else "4 queries at once offered"
    assert f"came with {fastest}" in caption
    # The highest rate is not the one with the most queries within the limits.
    assert ("0.3 queries/s within the limits, with 0.3" in caption) == (kind != "concurrency")


def test_roofline_places_the_run():
    found = {"decode_limit_ms": 10.0, "decode_computing_ms": 4.0, "weights_ms": 8.0, "kv_ms": 0.5,
             "batch": 4.0}  # fmt: skip
    metrics = {"tpot_ms": {"mean": 20.0}}
    axis = plots_system.roofline(found, metrics).axes[0]
    assert axis.lines[-1].get_xydata().tolist() == [[4.0, 200.0]]  # 4 tokens in 20 ms
    assert axis.lines[1].get_ydata()[0] == pytest.approx(1000)  # 4 tokens in 4 ms
    assert axis.lines[0].get_ydata()[0] == pytest.approx(1 / 8.5e-3)
    assert "memory bandwidth is the nearer limit" in plots_system.roofline_caption(found, metrics)
    assert "reaches 50% of it" in plots_system.roofline_caption(found, metrics)
