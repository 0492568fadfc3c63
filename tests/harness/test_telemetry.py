import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import psutil
import pynvml
import pytest

from vllm_loadgen.engines import vllm_steps
from vllm_loadgen.harness import telemetry
from vllm_loadgen.harness.telemetry import Rapl, Telemetry, steps_table
from vllm_loadgen.http import local_servers
from vllm_loadgen.http.served import free_port


def test_samples_of_this_machine(monkeypatch):
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.1)
    start_ns = time.monotonic_ns()
    with Telemetry() as watching:
        deadline = time.monotonic() + 30
        while watching.table(start_ns).num_rows < 3 and time.monotonic() < deadline:
            busy_until = time.monotonic() + 0.2
            while time.monotonic() < busy_until:  # looking at the samples would keep them waiting
                sum(range(100_000))
    frame = watching.table(start_ns).to_pandas()
    assert len(frame) >= 3
    assert frame["time_s"].is_monotonic_increasing
    assert frame["time_s"].between(0, 60).all()
    assert frame["own_cpu_share"].mean() > 0
    assert frame["cpu_share"].between(-0.01, 1.01).all()
    assert frame["own_memory_gib"].between(0.01, 100).all()
    assert frame["front_cpu_cores"].mean() > 0


BUSY_SERVER = """
import http.server, os, sys, threading, time
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, os.getpid(), flush=True)
held = b"x" * 200_000_000
until = time.monotonic() + 60
while time.monotonic() < until:
    sum(range(100_000))
"""


@pytest.mark.slow
def test_a_server_on_this_machine_counts_as_the_benchmarks_own(monkeypatch):
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.2)
    # Not a child of this process: the shell that starts it ends.
    command = ["sh", "-c", '"$0" -c "$1" &', sys.executable, BUSY_SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as it:
        try:
            port, pid = map(int, it.stdout.readline().split())
            url, server = f"http://localhost:{port}", psutil.Process(pid)
            frames, used = [], []
            for urls in ((), [url], ["http://192.0.2.1:8000"]):
                begin, before = time.monotonic(), sum(server.cpu_times()[:2])
                with Telemetry(servers=urls) as watching:
                    time.sleep(1.1)
                spent = sum(server.cpu_times()[:2]) - before
                used.append(spent / (time.monotonic() - begin))
                frames.append(watching.table(0).to_pandas().mean())
        finally:
            os.killpg(it.pid, signal.SIGKILL)
    without, found, elsewhere = frames
    assert "server_cpu_share" not in without
    assert "server_cpu_share" not in elsewhere
    busy = found["server_cpu_share"] * psutil.cpu_count()
    assert busy == pytest.approx(used[1], abs=0.3)  # of a core, or what others leave of it
    assert busy > 0
    assert found["own_cpu_share"] >= found["server_cpu_share"]
    assert found["front_cpu_cores"] < 0.3
    assert found["own_memory_gib"] > without["own_memory_gib"] + 0.15


def test_a_server_whose_process_cannot_be_seen(monkeypatch):
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.1)
    with Telemetry(servers=[f"http://127.0.0.1:{free_port()}"]) as watching:
        time.sleep(0.5)
    frame = watching.table(0).to_pandas()
    assert frame[["server_cpu_share", "own_cpu_share", "own_memory_gib"]].isna().all(axis=None)
    assert frame["front_cpu_cores"].notna().all()


def test_which_servers_are_on_this_machine():
    own = f"http://{socket.gethostname()}:8000"
    here = ["http://localhost", "https://[::1]:1", "http://127.0.0.9:2", own]
    away = ["http://192.0.2.1:8000", "http://name.invalid:8000"]
    assert local_servers.on_this_machine([*here, *away]) == here


def test_a_gpus_samples(monkeypatch):
    """NVML's answers of two GPUs, imitated."""
    answers = {
        "nvmlDeviceGetUtilizationRates": lambda h: type("U", (), {"gpu": 10 * h}),
        "nvmlDeviceGetMemoryInfo": lambda h: type("M", (), {"used": h * 2**30}),
        "nvmlDeviceGetPowerUsage": lambda h: 1000 * h,
        "nvmlDeviceGetTemperature": lambda h, _: 30 + h,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda h: (
            pynvml.nvmlClocksThrottleReasonSwPowerCap if h == 2 else 0
        ),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    assert telemetry.gpu_sample([1, 2]) == {
        "gpu_share": 0.2,
        "gpu_memory_gib": 3.0,
        "gpu_power_w": 3.0,
        "gpu_temperature_c": 32,
        "gpu_throttled": 1.0,
    }
    assert telemetry.gpu_sample([1])["gpu_throttled"] == 0.0


def test_steps_count_from_the_start_of_the_run():
    steps = {"monotonic_ns": [3_000_000_000, 4_500_000_000], "running": [1, 2]}
    frame = steps_table(steps, 1_000_000_000).to_pandas()
    assert frame["time_s"].tolist() == [2.0, 3.5]
    assert frame["running"].tolist() == [1, 2]
    assert steps_table({}, 0).to_pandas().empty


def test_a_test_too_short_for_a_sample():
    with Telemetry() as watching:
        pass
    assert watching.table(0).to_pandas().equals(pd.DataFrame())


SCHEDULER = {"num_running_reqs": 3, "num_waiting_reqs": 1, "kv_cache_usage": 0.5}
ITERATION = {"num_preempted_reqs": 2, "time_to_first_tokens_iter": [0.1, 0.2],
             "num_prompt_tokens": 70, "num_generation_tokens": 5}  # fmt: skip


def test_vllms_steps_go_into_columns():
    log = vllm_steps.StepLog()
    details = SimpleNamespace(num_ctx_tokens=64, num_generation_tokens=3, elapsed_ms=12.5)
    told = SimpleNamespace(**SCHEDULER, iteration_details=details)
    log.record(told, SimpleNamespace(**ITERATION))
    log.record(told, None)
    log.record(None, None)
    taken = log.take()
    assert taken["running"].tolist() == [3, 3]
    assert taken["preempted"].tolist() == [2, 0]
    assert taken["kv_cache_share"].tolist() == [0.5, 0.5]
    assert taken["prefill_tokens"].tolist() == [64, 64]
    assert taken["decode_tokens"].tolist() == [3, 3]
    assert taken["first_tokens"].tolist() == [2, 0]
    assert taken["duration_ms"].tolist() == [12.5, 12.5]
    assert len(log.take()["running"]) == 0
    assert log.tokens == 2 * 67  # of all steps, whoever took the columns


def test_a_step_of_an_older_vllm_has_the_prompts_that_it_ended():
    log = vllm_steps.StepLog()
    log.record(SimpleNamespace(**SCHEDULER), SimpleNamespace(**ITERATION))
    log.record(SimpleNamespace(**SCHEDULER), None)
    taken = log.take()
    assert taken["prefill_tokens"].tolist() == [70, 0]
    assert taken["decode_tokens"].tolist() == [3, 0]
    assert pd.isna(list(taken["duration_ms"])).all()


def test_a_step_that_overlaps_the_next_has_no_duration():
    log = vllm_steps.StepLog()
    log.overlaps = True
    details = SimpleNamespace(num_ctx_tokens=64, num_generation_tokens=3, elapsed_ms=12.5)
    log.record(SimpleNamespace(**SCHEDULER, iteration_details=details), None)
    assert pd.isna(log.take()["duration_ms"][0])


def test_what_a_gpu_does_not_tell_is_left_out_alone(monkeypatch):
    def refuse(*_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksThrottleReasons", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda h: 1000 * h)
    memory = type("M", (), {"used": 2**30})
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda h: memory)
    assert telemetry.gpu_sample([1, 2]) == {"gpu_memory_gib": 2.0, "gpu_power_w": 3.0}


def zone(root, name, kind, energy_uj, most_uj=1000):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{most_uj}\n")


def test_the_energy_of_the_cpu_packages_alone_and_over_a_wrap(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 900)
    zone(tmp_path, "intel-rapl:1", "package-1", 100)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    zone(tmp_path, "intel-rapl:0:0", "dram", 5)
    rapl = Rapl(tmp_path)
    assert rapl.read() == {"cpu_energy_j": 0.0}
    zone(tmp_path, "intel-rapl:0", "package-0", 50)  # over its end at 1000
    zone(tmp_path, "intel-rapl:1", "package-1", 300)
    zone(tmp_path, "intel-rapl:2", "psys", 900)
    assert rapl.read() == {"cpu_energy_j": pytest.approx(350e-6)}
    assert rapl.read() == {"cpu_energy_j": pytest.approx(350e-6)}


def test_no_counter_of_energy_is_no_column(tmp_path):
    assert Rapl(tmp_path).read() == {}
    zone(tmp_path, "intel-rapl:0", "package-0", 900)
    rapl = Rapl(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert rapl.read() == {}


def test_a_gpus_counter_of_energy(monkeypatch):
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda h: 2500 * h)
    assert telemetry.gpu_sample([1, 2])["gpu_energy_j"] == 7.5


@pytest.mark.parametrize(
    ("command", "engine"),
    [
        (["VLLM::EngineCore"], True),
        (["VLLM::Worker_TP0"], True),
        (["VLLM::APIServer"], False),
        (["python", "-m", "VLLM::EngineCore"], False),
        ([], False),
    ],
)
def test_which_processes_are_the_front_end(command, engine):
    process = type("P", (), {"cmdline": lambda self: command})()
    assert telemetry._is_engine(process) is engine
