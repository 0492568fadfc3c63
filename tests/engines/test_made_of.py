"""What vLLM made of its options, by an imitated configuration."""

from types import SimpleNamespace

import pytest

vllm = pytest.importorskip("vllm_loadgen.engines.vllm")


class Torch:
    def __str__(self):
        return "torch.float32"


CONFIG = SimpleNamespace(
    model_config=SimpleNamespace(dtype=Torch(), seed=0, skip=None),
    cache_config=SimpleNamespace(cache_dtype="fp8_e4m3"),
    scheduler_config=SimpleNamespace(async_scheduling=False, mode="a"),
    parallel_config=SimpleNamespace(seed=0, mode="b"),
    instance_id="x",
)


def test_options_are_found_by_name_in_any_part():
    given = {"dtype": "float32", "seed": 0, "async_scheduling": True, "kv_cache_dtype": "fp8"}
    made = {"dtype": "float32", "seed": 0, "async_scheduling": False, "kv_cache_dtype": "fp8_e4m3"}
    assert vllm.effective_options(given, CONFIG) == made


def test_what_is_not_known_for_sure_is_left_out():
    assert (
        vllm.effective_options({"model": "m", "skip": 1, "mode": "a", "elsewhere": 1}, CONFIG) == {}
    )


def test_tokens_of_the_cache():
    blocks = SimpleNamespace(num_gpu_blocks=100, block_size=16)
    assert vllm._kv_cache_tokens(blocks) == 1600
    told = SimpleNamespace(num_gpu_blocks=100, block_size=16, kv_cache_size_tokens=1500)
    assert vllm._kv_cache_tokens(told) == 1500
    assert vllm._kv_cache_tokens(SimpleNamespace(num_gpu_blocks=None, block_size=16)) is None
