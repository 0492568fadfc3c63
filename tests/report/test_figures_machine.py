import math

import pandas as pd
from helpers import GPU, MACHINE, STEPS, draws, imitated, seed_records

from loadgen_study.analysis.roofline import Roofline
from loadgen_study.report.figures import machine, queries


def test_occupancy():
    caption = machine.occupancy_caption(imitated(seed_records(), engine_steps=STEPS))
    assert caption.startswith("3 steps: 1.0 queries at once on average, at most 3; ")
    assert caption.endswith("KV cache at most 25.0 % full; 1 preemption.")
    assert "no steps" in machine.occupancy_caption(imitated(seed_records()))


def test_machine_with_and_without_a_gpu():
    assert "90 % busy on average, 80 % by this benchmark;" in machine.machine_caption(MACHINE)
    caption = machine.machine_caption(GPU)
    assert "GPU: the busiest 75 % busy, at most 12.0 GiB, at most 300 W, clocks" in caption
    assert "held down in 50 % of samples" in caption
    partly = GPU.drop(columns=["gpu_share", "gpu_temperature_c"])
    assert draws(machine.over_time(imitated(seed_records(), telemetry=partly)))
    assert "GPU: at most 12.0 GiB, at most 300 W" in machine.machine_caption(partly)
    assert "too short" in machine.machine_caption(pd.DataFrame())


def test_a_server_whose_process_is_not_found():
    unknown = MACHINE.assign(own_cpu_share=math.nan, own_memory_gib=math.nan,
                             server_cpu_share=math.nan)  # fmt: skip
    chart = machine.over_time(imitated(seed_records(), telemetry=unknown)).chart
    assert [panel["title"] for panel in chart["vconcat"][1]["vconcat"][2:]] == ["CPU"]
    assert chart["datasets"]["machine"].startswith("time_s,cpu_percent\n")
    assert "own_" not in str(chart)
    caption = machine.machine_caption(unknown)
    assert caption.endswith("90 % busy on average, the server's share not known.")


def test_times_in_which_other_programs_disturbed_a_test_are_shaded():
    test = imitated(seed_records())
    undisturbed = [machine.over_time(test).chart, queries.over_test(test).chart]
    assert "other programs" not in str(undisturbed)
    rows = {"begin_s": [1.0], "end_s": [3.5], "share": [0.4]}
    vars(test)["disturbed"] = pd.DataFrame(rows)
    for chart in (machine.over_time(test), queries.over_test(test)):
        assert "{'begin_s': 1.0, 'end_s': 3.5, 'says': '40 % of all cores'}" in str(chart.chart)
        assert draws(chart)


def test_the_server_counts_as_the_benchmark():
    caption = machine.machine_caption(MACHINE.assign(server_cpu_share=0.5))
    assert "80 % by this benchmark and the server; memory" in caption


def test_roofline_places_the_run():
    unknown = dict.fromkeys(Roofline.__annotations__, math.nan)
    found = Roofline(**unknown | {"decode_limit_ms": 10.0, "decode_computing_ms": 4.0,
                                  "weights_ms": 8.0, "kv_ms": 0.5, "batch": 4.0,
                                  "experts_ms": 0.0, "expert_share": 0.0})  # fmt: skip
    tables = machine.roofline(found, 20.0).chart["datasets"]
    low = machine.roofline(found, 20.0).chart["layer"][0]["encoding"]["y2"]["datum"]
    assert low < 117  # no mark lies on the axis
    assert tables["run"].splitlines()[1] == "4.0,200.0"  # 4 tokens in 20 ms
    # One in 8.5 ms by memory; 4 tokens in 4 ms by the matrix rate.
    assert tables["roofline"].splitlines()[1] == "1.0,117.6,1000.0"
    caption = machine.roofline_caption(found, 20.0)
    assert "200 tokens/s at a mean batch of 4.0" in caption
    assert "allow 400 there" in caption  # 4 tokens in 10 ms
