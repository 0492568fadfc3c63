import math

import numpy as np
import pytest
from helpers import MODEL, make_metrics

from loadgen_study.analysis import roofline
from loadgen_study.analysis.roofline import as_loaded
from loadgen_study.facts.inputs import Experts, MachineLimits, Model

# Llama-3.1-8B in float16; its embedding table is not tied to its head.
TABLE, LAYERS = 128256 * 4096, 8_030_261_248 - 2 * 128256 * 4096
LLAMA = Model(**MODEL | {
    "parameters": 8_030_261_248, "weight_bytes": 16_060_522_496, "dtype": "float16",
    "embedding_parameters": TABLE, "tied_embeddings": False,
    "layer_parameters": LAYERS, "layer_bytes": 2 * LAYERS, "head_bytes": 2 * TABLE,
    "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128,
})  # fmt: skip
# As many parameters, of which one table is both; so its layers have a table's more.
TIED = LLAMA.model_copy(update={
    "tied_embeddings": True,
    "layer_parameters": LAYERS + TABLE, "layer_bytes": 2 * (LAYERS + TABLE),
})  # fmt: skip


A30 = MachineLimits(device="cuda", memory_bandwidth_gb_s=933.0, matrix_tflop_s={"float16": 165.0})
# Its layers in 4 bits with a scale and a zero point for 128 weights each, as AWQ stores them.
AWQ = LLAMA.model_copy(update={
    "quantization": "awq", "layer_bytes": LAYERS * 4.15625 // 8,
    "weight_bytes": LAYERS * 4.15625 // 8 + 4 * TABLE,
})  # fmt: skip
# A mixture of the same size: three quarters of its layers are 64 experts, of which a token takes 4.
EXPERTS = Experts(count=64, per_token=4, parameters=LAYERS * 3 // 4, loaded_bytes=LAYERS * 3 // 2)
MIXTURE = LLAMA.model_copy(update={"experts": EXPERTS})


def test_the_seeds_time_per_token_is_near_its_limit():
    # An A30 reads 933 GB/s (its datasheet): all of 16.06 GB take 17.21 ms, 78 % of 21.96 ms.
    assert roofline.decode_limit_ms(16.06e9, 933) / 21.96 == pytest.approx(0.784, abs=0.001)


def test_bytes_by_hand():
    assert roofline.kv_bytes(LLAMA, 1) == 131_072  # 2 * 32 * 8 * 128 * 2
    assert roofline.kv_bytes(LLAMA, 1, "fp8") == 65_536
    assert roofline.read_weight_bytes(LLAMA) == 16_060_522_496 - 2 * 128256 * 4096
    assert roofline.read_weight_bytes(TIED) == 16_060_522_496


def test_limits_by_hand():
    model = TIED
    machine = A30
    metrics = make_metrics(output_tokens={"mean": 128.0})
    found = roofline.roofline(model, machine, metrics, batch=1.0, input_tokens=778)
    step_bytes = 16_060_522_496 + 131_072 * (778 + 64)
    assert found.decode_limit_ms == pytest.approx(step_bytes / 933e6)
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
    assert roofline.read_weight_bytes(as_loaded(LLAMA, "fp8")) == pytest.approx(layers + 2 * table)
    assert roofline.read_weight_bytes(as_loaded(LLAMA, "awq")) == roofline.read_weight_bytes(LLAMA)


def test_two_devices_halve_the_limit():
    metrics = make_metrics(output_tokens={"mean": 100.0})
    one = roofline.roofline(LLAMA, A30, metrics, 4.0, 500)
    two = roofline.roofline(LLAMA, A30, metrics, 4.0, 500, shared=2)
    assert two.decode_limit_ms == pytest.approx(one.decode_limit_ms / 2)


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
    metrics = make_metrics(tpot_ms={"mean": tpot_ms}, tokens_per_s=tokens_per_s)
    found = roofline.impossible(LLAMA, A30, metrics)
    assert len(found) == len(flagged)
    assert all(word in sentence for word, sentence in zip(flagged, found, strict=True))
    assert roofline.impossible(LLAMA, None, metrics) == []


# Quantized checkpoints ----------------------------------------------------------------------
def test_four_bits_are_read_as_they_are_stored():
    assert roofline.read_weight_bytes(AWQ) == AWQ.layer_bytes + 2 * TABLE
    assert roofline.read_weight_bytes(as_loaded(AWQ, "awq")) == roofline.read_weight_bytes(AWQ)
    assert roofline.read_weight_bytes(as_loaded(AWQ, "fp8")) == roofline.read_weight_bytes(AWQ)
    # Keys and values stay in the type that is run.
    assert roofline.kv_bytes(AWQ, 1) == roofline.kv_bytes(LLAMA, 1)
    # Two operations a weight, however it is stored.
    assert roofline.decode_flops(AWQ, 100) == roofline.decode_flops(LLAMA, 100)


def test_four_bits_are_not_faster_than_the_machine_can_be():
    least_ms = roofline.decode_limit_ms(roofline.read_weight_bytes(LLAMA), 933.0)
    metrics = make_metrics(tpot_ms={"mean": least_ms / 3}, tokens_per_s=100.0)
    assert roofline.impossible(LLAMA, A30, metrics)
    assert roofline.impossible(AWQ, A30, metrics) == []
    # A ninth of it would be.
    faster = make_metrics(tpot_ms={"mean": least_ms / 9}, tokens_per_s=100.0)
    assert len(roofline.impossible(AWQ, A30, faster)) == 1


def test_four_bits_multiply_in_the_type_that_is_run():
    metrics = make_metrics(tpot_ms={"mean": 10.0}, output_tokens={"mean": 100.0})
    assert roofline.roofline(AWQ, A30, metrics, 1.0, 100).rate_tflop_s == 165.0
    # But on a CPU perhaps in int8, which nobody measured.
    cpu = A30.model_copy(update={"device": "cpu", "matrix_tflop_s": {"bfloat16": 1.0}})
    model = AWQ.model_copy(update={"dtype": "bfloat16"})
    assert roofline.roofline(model, cpu, metrics, 1.0, 100) is None
    plain = LLAMA.model_copy(update={"dtype": "bfloat16"})
    assert roofline.roofline(plain, cpu, metrics, 1.0, 100).rate_tflop_s == 1.0


def test_fp8_is_held_against_the_rate_of_fp8_alone():
    model = LLAMA.model_copy(update={
        "quantization": "fp8", "multiplied_in": "fp8", "layer_bytes": LAYERS,
    })  # fmt: skip
    metrics = make_metrics(tpot_ms={"mean": 20.0}, tokens_per_s=20_000.0,
                           output_tokens={"mean": 100.0})  # fmt: skip
    assert roofline.impossible(LLAMA, A30, metrics)  # 300 TFLOP/s of 165
    assert roofline.impossible(model, A30, metrics) == []
    assert roofline.roofline(model, A30, metrics, 1.0, 100) is None
    measured = A30.model_copy(update={"matrix_tflop_s": {"float16": 165.0, "fp8": 250.0}})
    assert len(roofline.impossible(model, measured, metrics)) == 1
    assert roofline.roofline(model, measured, metrics, 1.0, 100).rate_tflop_s == 250.0


@pytest.mark.parametrize("method", ["fp8", "fp8_per_tensor", "mxfp8", "experts_int8"])
def test_methods_of_loading_halve_what_is_read(method):
    assert roofline.read_weight_bytes(as_loaded(LLAMA, method)) == LAYERS + 2 * TABLE


# Mixtures of experts ------------------------------------------------------------------------
def test_a_token_costs_the_experts_that_it_is_sent_to():
    assert MIXTURE.active_parameters == pytest.approx(2 * TABLE + LAYERS / 4 * (1 + 3 / 16))
    active = LAYERS / 4 * (1 + 3 / 16)
    assert roofline.decode_flops(MIXTURE, 0) == pytest.approx(2 * (active + TABLE))
    attention = 2 * 32 * 4096 * 100**2
    assert roofline.prefill_flops(MIXTURE, 100) == pytest.approx(
        2 * active * 100 + 2 * TABLE + attention
    )


def test_a_step_reads_the_experts_that_its_batch_needs():
    shared = LAYERS / 2 + 2 * TABLE
    one = shared + 1.5 * LAYERS / 16
    assert roofline.read_weight_bytes(MIXTURE) == pytest.approx(one)
    two = shared + 1.5 * LAYERS * (1 - (15 / 16) ** 2)  # two tokens share some
    assert roofline.read_weight_bytes(MIXTURE, batch=2) == pytest.approx(two)
    all_bytes = 2 * (LAYERS + TABLE)
    assert roofline.read_weight_bytes(MIXTURE, batch=10_000) == pytest.approx(all_bytes)
    assert roofline.read_weight_bytes(as_loaded(MIXTURE, "fp8")) == pytest.approx(one / 2 + TABLE)


def test_a_mixture_is_not_faster_than_the_machine_can_be():
    least_ms = roofline.decode_limit_ms(roofline.read_weight_bytes(LLAMA), 933.0)
    # A third of what all its weights take, and more operations than all of them would allow.
    metrics = make_metrics(tpot_ms={"mean": least_ms / 3}, tokens_per_s=20_000.0)
    assert len(roofline.impossible(LLAMA, A30, metrics)) == 2
    assert roofline.impossible(MIXTURE, A30, metrics) == []
    faster = make_metrics(tpot_ms={"mean": least_ms / 9}, tokens_per_s=100_000.0)
    assert len(roofline.impossible(MIXTURE, A30, faster)) == 2


def test_where_reading_ends_for_a_mixture():
    batch = roofline.critical_batch(MIXTURE, 933.0, 165.0)
    reading_s = roofline.read_weight_bytes(MIXTURE, batch=batch) / 933e9
    computing_s = batch * roofline.decode_flops(MIXTURE, 0) / 165e12
    assert reading_s == pytest.approx(computing_s)
    # Of a token's fewer operations it takes more to keep the machine busy.
    assert batch > roofline.critical_batch(LLAMA, 933.0, 165.0)


def test_the_curve_of_a_mixture_passes_through_its_runs_limit():
    metrics = make_metrics(tpot_ms={"mean": 20.0}, output_tokens={"mean": 128.0})
    for model in (MIXTURE, LLAMA):
        found = roofline.roofline(model, A30, metrics, 3.0, 500)
        curve = found.reading_ms(np.array([1.0, 3.0, 1e6]))
        assert curve[1] == pytest.approx(found.decode_limit_ms)
        assert curve[2] == pytest.approx(found.weights_ms + 1e6 * found.kv_ms)
    alone = roofline.read_weight_bytes(MIXTURE)
    mixed = roofline.roofline(MIXTURE, A30, metrics, 1.0, 500)
    assert mixed.decode_limit_ms - mixed.kv_ms == pytest.approx(alone / 933e6)


def test_latent_attention_keeps_one_vector_a_layer():
    # DeepSeek-V3: (512 + 64) values of 2 bytes in each of 61 layers, 70,272 bytes a token.
    model = LLAMA.model_copy(update={"kv_values": 576, "num_layers": 61})
    assert roofline.kv_bytes(model, 1) == 70_272


def test_layers_with_a_window_keep_no_more_than_it_holds():
    token = roofline.kv_bytes(LLAMA, 1) / 32
    mixed = {"kv_layers": 4, "window_layers": 20, "window": 1024}  # and 8 that keep a state
    model = LLAMA.model_copy(update=mixed)
    assert roofline.kv_bytes(model, 1000) == token * 24 * 1000
    assert roofline.kv_bytes(model, 3000) == token * (4 * 3000 + 20 * 1024)
    several = roofline.kv_bytes(model, np.array([1000.0, 3000.0]))
    assert several.tolist() == [token * 24 * 1000, token * (4 * 3000 + 20 * 1024)]
    assert roofline.decode_flops(model, 100) < roofline.decode_flops(LLAMA, 100)


@pytest.mark.parametrize("missing", ["weight_bytes", "num_heads"])
def test_of_a_model_that_is_not_described_no_limit_is_claimed(missing):
    model = LLAMA.model_copy(update={missing: None})
    metrics = make_metrics(tpot_ms={"mean": 1e-6}, tokens_per_s=1e12)
    assert roofline.roofline(model, A30, metrics, 1, 100) is None
    assert roofline.impossible(model, A30, metrics) == []
