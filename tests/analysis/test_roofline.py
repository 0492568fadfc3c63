import math

import pytest
from helpers import MODEL, make_metrics

from vllm_loadgen.analysis import roofline
from vllm_loadgen.facts.inputs import MachineLimits, Model

# Llama-3.1-8B in float16; its embedding table is not tied to its head.
LLAMA = Model(**MODEL | {
    "parameters": 8_030_261_248, "weight_bytes": 16_060_522_496, "dtype": "float16",
    "embedding_parameters": 128256 * 4096, "tied_embeddings": False,
    "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128,
})  # fmt: skip


A30 = MachineLimits(device="cuda", memory_bandwidth_gb_s=933.0, matrix_tflop_s={"float16": 165.0})


def test_the_seeds_time_per_token_is_near_its_limit():
    # An A30 reads 933 GB/s (its datasheet): all of 16.06 GB take 17.21 ms, 78 % of 21.96 ms.
    assert roofline.decode_limit_ms(16.06e9, 933) / 21.96 == pytest.approx(0.784, abs=0.001)


def test_bytes_by_hand():
    assert roofline.kv_bytes_per_token(LLAMA) == 131_072  # 2 * 32 * 8 * 128 * 2
    assert roofline.kv_bytes_per_token(LLAMA, "fp8") == 65_536
    assert roofline.read_weight_bytes(LLAMA) == 16_060_522_496 - 2 * 128256 * 4096
    tied = LLAMA.model_copy(update={"tied_embeddings": True})
    assert roofline.read_weight_bytes(tied) == 16_060_522_496


def test_shares_by_hand():
    model = LLAMA.model_copy(update={"tied_embeddings": True})
    machine = A30
    metrics = make_metrics(
        tpot_ms={"mean": 21.96}, prefill_ms={"p50": 130.0}, output_tokens={"mean": 128.0}
    )
    found = roofline.roofline(model, machine, metrics, mean_batch=1.0, mean_input_tokens=778)
    step_bytes = 16_060_522_496 + 131_072 * (778 + 64)
    assert found.decode_limit_ms == pytest.approx(step_bytes / 933e6)
    assert found.decode_share == pytest.approx(0.789, abs=0.001)
    # All but the head for 778 tokens, the head for the last, and causal attention.
    table = 128256 * 4096
    flops = 2 * (8_030_261_248 - table) * 778 + 2 * table + 2 * 32 * 4096 * 778**2
    assert found.prefill_limit_ms == pytest.approx(flops / 165e12 * 1e3)
    # 2 bytes a weight: W F / (2 P B) = F / B = 165e12 / 933e9
    assert roofline.critical_batch(model, 933.0, 165.0) == pytest.approx(165e12 / 933e9)


def test_nothing_is_claimed_of_what_was_not_measured():
    assert roofline.roofline(LLAMA, None, make_metrics(), 1.0, 100) is None


def test_the_embedding_table_is_looked_up_and_not_multiplied():
    # 32 layers of Llama are 6,979,588,096 + 4,096 * 64 + 4,096 parameters: all but two tables.
    layers = 8_030_261_248 - 2 * 128256 * 4096
    assert roofline.prefill_flops(LLAMA, 1) == pytest.approx(
        2 * layers + 2 * 128256 * 4096 + 2 * 32 * 4096
    )
    assert roofline.decode_flops(LLAMA, 0) == 2 * (8_030_261_248 - 128256 * 4096)


def test_keys_and_values_raise_the_critical_batch():
    # Decode of one token: 15.01e9 operations; W = 15.01e9 bytes at 1,000 GB/s is 15.01 ms.
    weights = roofline.read_weight_bytes(LLAMA)
    computing_ms = weights / 100e12 * 1e3  # two operations and two bytes a weight
    kv_ms = computing_ms / 2
    with_kv = roofline.critical_batch(LLAMA, 1000, 100, kv_bytes=kv_ms * 1e9)
    assert roofline.critical_batch(LLAMA, 1000, 100) == pytest.approx(100)
    assert with_kv == pytest.approx(200)
    assert roofline.critical_batch(LLAMA, 1000, 100, kv_bytes=2 * computing_ms * 1e9) == math.inf


def test_weights_quantized_as_they_are_loaded_are_read_with_their_new_size():
    table = 128256 * 4096
    layers = 8_030_261_248 - 2 * table
    assert roofline.read_weight_bytes(LLAMA, "fp8") == pytest.approx(layers + 2 * table)
    assert roofline.read_weight_bytes(LLAMA, "awq") == roofline.read_weight_bytes(LLAMA)


def test_two_devices_halve_the_limit():
    metrics = make_metrics(
        tpot_ms={"mean": 20.0}, prefill_ms={"p50": math.nan}, output_tokens={"mean": 100.0}
    )
    one = roofline.roofline(LLAMA, A30, metrics, 4.0, 500)
    two = roofline.roofline(LLAMA, A30, metrics, 4.0, 500, devices=2)
    assert two.decode_limit_ms == pytest.approx(one.decode_limit_ms / 2)
    assert math.isnan(one.prefill_share)


@pytest.mark.parametrize(
    ("tpot_ms", "tokens_per_s", "flagged"),
    [
        (21.96, 41.0, []),  # the seed's own figures
        (14.5, 68.0, []),  # within the tolerance of the 16.09 ms that the weights take
        (2.0, 500.0, ["reading of the weights"]),
        (20.0, 20_000.0, ["TFLOP/s"]),  # 20,000 * 15.01e9 is 300 TFLOP/s of 165
        (math.nan, 0.0, []),
    ],
)
def test_figures_above_the_measured_limits_are_flagged(tpot_ms, tokens_per_s, flagged):
    metrics = make_metrics(tpot_ms={"p50": tpot_ms}, tokens_per_s=tokens_per_s)
    found = roofline.impossible(LLAMA, A30, metrics)
    assert len(found) == len(flagged)
    assert all(word in sentence for word, sentence in zip(flagged, found, strict=True))
    assert roofline.impossible(LLAMA, None, metrics) == []
