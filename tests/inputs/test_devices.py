import pytest
from helpers import ENVIRONMENT

from loadgen_study import RunParams
from loadgen_study.facts.inputs import Cpu, Environment, Gpu
from loadgen_study.inputs.devices import check_devices
from vllm_loadgen import ParameterError


def here(gpus=0, cores=8, memory_gib=32.0):
    return Environment(**ENVIRONMENT | {
        "gpus": [Gpu(name="H100", memory_gib=80.0)] * gpus,
        "cpu": Cpu(model="c", cores=cores, memory_gib=memory_gib),
    })  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "machine", "name", "words"),
    [
        ({"tensor_parallel_size": 4}, here(gpus=2), "tensor_parallel_size", "2 GPUs can be used"),
        ({"data_parallel_size": 4, "tensor_parallel_size": 2}, here(gpus=4), "data_parallel_size",
         "asks for 8 devices"),
        ({"pipeline_parallel_size": 2}, here(gpus=1), "pipeline_parallel_size", "1 GPU can"),
        ({"data_parallel_size": 3}, here(cores=2), "data_parallel_size", "2 cores and no GPU"),
        ({"executor": "ray"}, here(), "executor", "no GPU here"),
        ({"pipeline_parallel_size": 2, "enforce_eager": True}, here(), "enforce_eager", "compiled"),
        ({"cpu_kv_cache_gib": 33}, here(), "cpu_kv_cache_gib", "32 GiB of memory"),
        ({"cpu_kv_cache_gib": 17, "data_parallel_size": 2}, here(), "cpu_kv_cache_gib", "2 times"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_name(changes, machine, name, words):
    with pytest.raises(ParameterError, match=words) as caught:
        check_devices(RunParams(**changes), machine)
    assert caught.value.parameter == name


@pytest.mark.parametrize(
    ("changes", "machine"),
    [
        ({"tensor_parallel_size": 2, "data_parallel_size": 4}, here(gpus=8)),
        ({"data_parallel_size": 2, "cpu_kv_cache_gib": 16}, here(cores=2)),
        ({"engine": "echo", "data_parallel_size": 9}, here(cores=2)),
        ({"engine": "openai", "base_url": "http://h:1"}, here(memory_gib=1.0)),
    ],
)
def test_what_fits_is_not(changes, machine):
    check_devices(RunParams(**changes), machine)


def test_rays_executor_needs_ray(monkeypatch):
    params = RunParams(executor="ray", tensor_parallel_size=16)
    monkeypatch.setattr("loadgen_study.inputs.devices.util.find_spec", lambda _: "a module")
    check_devices(params, here(gpus=8))  # the others may be on other machines
    monkeypatch.setattr("loadgen_study.inputs.devices.util.find_spec", lambda _: None)
    with pytest.raises(ParameterError, match="make ray"):
        check_devices(params, here(gpus=8))
