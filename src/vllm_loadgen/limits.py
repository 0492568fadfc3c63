"""How far a run is from what its machine can do: decode against bandwidth, prefill against rate.

The model is the roofline of Williams, Waterman and Patterson (CACM 52, 2009), applied to a decoder
as in Pope et al., "Efficiently Scaling Transformer Inference" (2022): a decode step reads all
weights once, whatever the batch, and each query's keys and values; a token costs two operations a
weight.
"""

import math
from typing import Any

KV_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


def read_weight_bytes(model: dict[str, Any]) -> float:
    """Bytes of weights that a decode step reads.

    All but the embedding table, of which a step reads one row a query; a table that is tied to
    the output head is read in full, as the head.
    """
    per_parameter = model["weight_bytes"] / model["parameters"]
    unread = 0 if model["tied_embeddings"] else model["embedding_parameters"]
    return (model["parameters"] - unread) * per_parameter


def kv_bytes_per_token(model: dict[str, Any], kv_cache_dtype: str = "auto") -> int:
    """Bytes of keys and values that one token of context leaves in all layers."""
    size = KV_BYTES.get(kv_cache_dtype) or model["weight_bytes"] / model["parameters"]
    return int(2 * model["num_layers"] * model["num_kv_heads"] * model["head_dim"] * size)


def decode_limit_ms(bytes_per_step: float, bandwidth_gb_s: float) -> float:
    """Least time of a decode step, ms: its bytes over the memory bandwidth (10^9 bytes/s)."""
    return bytes_per_step / bandwidth_gb_s / 1e6


def critical_batch(model: dict[str, Any], bandwidth_gb_s: float, tflop_s: float) -> float:
    """Queries in a step above which the matrix rate, not bandwidth, bounds the weights' part.

    2 operations a weight and query take 2 P b / F; reading the weights takes W / B: equal at
    b = W F / (2 P B).
    """
    computed = 2 * model["parameters"]
    return read_weight_bytes(model) * tflop_s * 1e3 / (computed * bandwidth_gb_s)


def limits(
    model: dict[str, Any],
    machine: dict[str, Any],
    metrics: dict[str, Any],
    mean_batch: float,
    mean_input_tokens: float,
    kv_cache_dtype: str = "auto",
) -> dict[str, float]:
    """A run's shares of its machine's measured limits; empty where a limit was not measured.

    Args:
        model: model.json. machine: machine.json. metrics: of ``analysis.metrics``.
        mean_batch: queries served at once, on average.
        mean_input_tokens: prompt tokens of a query, on average.

    Returns:
        decode_limit_ms (least time of a step at that batch and context), decode_share (of it in
        the mean TPOT, 0 to 1), decode_limit_batch_1_ms, prefill_limit_ms, prefill_share (of it in
        the median prefill), critical_batch, tokens_per_s_limit at that batch.
    """
    bandwidth = machine.get("memory_bandwidth_gb_s")
    rate = machine.get("matrix_tflop_s", {}).get(model["dtype"])
    if not bandwidth or not rate:
        return {}
    weights = read_weight_bytes(model)
    context = mean_input_tokens + metrics["output_tokens"]["mean"] / 2
    kv = kv_bytes_per_token(model, kv_cache_dtype) * context
    batch = max(1.0, mean_batch)
    step_ms = decode_limit_ms(weights + kv * batch, bandwidth)
    prefill_ms = 2 * model["parameters"] * mean_input_tokens / rate / 1e9
    return {
        "decode_limit_ms": step_ms,
        "decode_limit_batch_1_ms": decode_limit_ms(weights + kv, bandwidth),
        "decode_share": _share(step_ms, metrics["tpot_ms"]["mean"]),
        "prefill_limit_ms": prefill_ms,
        "prefill_share": _share(prefill_ms, metrics["prefill_ms"]["p50"]),
        "critical_batch": critical_batch(model, bandwidth, rate),
        "tokens_per_s_limit": batch / step_ms * 1e3,
    }


def _share(least: float, actual: float) -> float:
    return least / actual if actual and not math.isnan(actual) else math.nan
