import pytest

from vllm_loadgen import limits

# Llama-3.1-8B in float16; its embedding table is not tied to its head.
LLAMA = {
    "parameters": 8_030_261_248, "weight_bytes": 16_060_522_496, "dtype": "float16",
    "embedding_parameters": 128256 * 4096, "tied_embeddings": False,
    "num_layers": 32, "num_kv_heads": 8, "head_dim": 128,
}  # fmt: skip


def test_the_seeds_time_per_token_is_near_its_limit():
    # An A30 reads 933 GB/s (its datasheet): all of 16.06 GB take 17.21 ms, 78 % of 21.96 ms.
    assert limits.decode_limit_ms(16.06e9, 933) / 21.96 == pytest.approx(0.784, abs=0.001)


def test_bytes_by_hand():
    assert limits.kv_bytes_per_token(LLAMA) == 131_072  # 2 * 32 * 8 * 128 * 2
    assert limits.kv_bytes_per_token(LLAMA, "fp8") == 65_536
    assert limits.read_weight_bytes(LLAMA) == 16_060_522_496 - 2 * 128256 * 4096
    tied = {**LLAMA, "tied_embeddings": True}
    assert limits.read_weight_bytes(tied) == 16_060_522_496


def test_shares_by_hand():
    model = {**LLAMA, "tied_embeddings": True}
    machine = {"memory_bandwidth_gb_s": 933.0, "matrix_tflop_s": {"float16": 165.0}}
    metrics = {"tpot_ms": {"mean": 21.96}, "prefill_ms": {"p50": 130.0},
               "output_tokens": {"mean": 128.0}}  # fmt: skip
    found = limits.limits(model, machine, metrics, mean_batch=1.0, mean_input_tokens=778)
    step_bytes = 16_060_522_496 + 131_072 * (778 + 64)
    assert found["decode_limit_ms"] == pytest.approx(step_bytes / 933e6)
    assert found["decode_share"] == pytest.approx(0.789, abs=0.001)
    assert found["prefill_limit_ms"] == pytest.approx(2 * 8.030261248e9 * 778 / 165e12 * 1e3)
    # 2 bytes a weight: W F / (2 P B) = F / B = 165e12 / 933e9
    assert found["critical_batch"] == pytest.approx(165e12 / 933e9)


def test_nothing_is_claimed_of_what_was_not_measured():
    assert limits.limits(LLAMA, {}, {}, 1.0, 100) == {}
