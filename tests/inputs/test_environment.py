"""Which GPUs are a run's own, by NVML's answers of four GPUs, imitated."""

import pynvml
import pytest

from vllm_loadgen.inputs.environment import gpu_handles


@pytest.fixture
def four_gpus(monkeypatch):
    def by_index(index):
        if not 0 <= index < 4:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return f"gpu {index}"

    def by_uuid(uuid):
        if uuid != "GPU-abc":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "gpu 3"

    for name, answer in {
        "nvmlInit": lambda: None, "nvmlShutdown": lambda: None, "nvmlDeviceGetCount": lambda: 4,
        "nvmlDeviceGetHandleByIndex": by_index, "nvmlDeviceGetHandleByUUID": by_uuid,
    }.items():  # fmt: skip
        monkeypatch.setattr(pynvml, name, answer)


@pytest.mark.parametrize(
    ("visible", "devices", "found"),
    [
        (None, 1, ["gpu 0"]),
        (None, 8, ["gpu 0", "gpu 1", "gpu 2", "gpu 3"]),
        ("2,1", 1, ["gpu 2"]),
        ("2,1", 2, ["gpu 2", "gpu 1"]),
        ("GPU-abc", 1, ["gpu 3"]),
        ("1,9,2", 4, ["gpu 1"]),  # CUDA passes over all behind a name that it does not know
        ("", 1, []),
        ("-1", 1, []),
    ],
)
def test_only_the_gpus_that_a_run_uses_are_its_own(monkeypatch, four_gpus, visible, devices, found):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpu_handles(devices) as handles:
        assert handles == found
