import gc
from contextlib import nullcontext
from functools import partial

import pynvml
import pytest

from loadgen_study.inputs import machine
from vllm_loadgen.harness import telemetry
from vllm_loadgen.harness.telemetry import Rapl


def cache(root, cpu, index, level, size, shared):
    folder = root / f"cpu{cpu}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in (("level", level), ("size", size), ("shared_cpu_map", shared)):
        (folder / name).write_text(f"{text}\n")


def test_the_last_level_of_cache_counts_once_a_socket(tmp_path):
    for cpu, socket in ((0, "3"), (1, "3"), (2, "c")):
        cache(tmp_path, cpu, 0, 1, "48K", str(cpu))
        cache(tmp_path, cpu, 3, 3, "32M", socket)
    assert machine._cpu_cache_bytes(tmp_path) == 2 * 32 * 2**20
    assert machine._cpu_cache_bytes(tmp_path / "nothing") == 0


def tensors():
    """PyTorch's tensors in this process; other tests may have left some."""
    return {id(thing) for thing in gc.get_objects() if type(thing).__name__ == "Tensor"}


@pytest.mark.process
def test_limits_are_measured_in_a_process_of_its_own():
    before = tensors()
    limits = machine.measure_limits(["bfloat16", "float32", "int8"])
    assert limits.asked_for == ("float32", "bfloat16")
    assert limits.memory_bandwidth_gb_s > 0
    assert limits.matrix_tflop_s["float32"] > 0
    assert limits.buffer_mib > limits.last_level_cache_mib
    # What torch held is gone with it.
    assert tensors() <= before


def test_limits_that_cannot_be_measured_are_one_error(monkeypatch):
    monkeypatch.setattr(machine, "__name__", "vllm_loadgen.no_such_module")
    with pytest.raises(machine.BenchmarkError, match=r"limits cannot be measured: .*No module"):
        machine.measure_limits(["float32"])


def test_the_idle_power_by_a_stub_of_nvml_and_a_folder_of_rapl(monkeypatch, tmp_path):
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("energy_uj", "900")):
        (zone / name).write_text(text, encoding="utf-8")
    found = patch_meters(monkeypatch, tmp_path, handles=[1])
    assert found(1) == {"GPUs": 100.0, "CPU packages": 0.0}  # the counter stands still


def test_without_a_meter_no_idle_power_is_waited_for(monkeypatch, tmp_path):
    found = patch_meters(monkeypatch, tmp_path, handles=[])
    monkeypatch.setattr(machine.time, "sleep", lambda _: pytest.fail("it waits"))
    assert found(1) == {}


def patch_meters(monkeypatch, powercap, handles):
    """``machine.idle_power_w`` with these meters alone, and a short interval."""
    monkeypatch.delenv("REDFISH_URL", raising=False)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda _: 100_000)
    for module in (machine, telemetry):
        monkeypatch.setattr(module, "Rapl", partial(Rapl, powercap))
        monkeypatch.setattr(module, "gpu_handles", lambda _: nullcontext(handles))
        monkeypatch.setattr(module, "INTERVAL_S", 0.1)
    return machine.idle_power_w
