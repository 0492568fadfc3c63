"""How far a run is from what its machine can do: decode against bandwidth, prefill against rate.

The model is the roofline of Williams, Waterman and Patterson (CACM 52, 2009), applied to a decoder
as in Pope et al., "Efficiently Scaling Transformer Inference" (2022): a decode step reads all
weights once, whatever the batch, and each query's keys and values; a token costs two operations a
weight. A mixture of experts reads the experts that its batch needs, and a token costs those that it
is sent to.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from loadgen_study.facts.inputs import MachineLimits, Model
from loadgen_study.facts.results import Metrics
from loadgen_study.words import percent

KV_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
# Bytes of a weight that vLLM quantizes as it loads the model; a checkpoint that is quantized has
# its own size.
LOADED_BYTES = {
    "fp8": 1, "fp8_per_tensor": 1, "fp8_per_channel": 1, "fp8_per_block": 1, "mxfp8": 1,
    "experts_int8": 1, "int8_per_channel_weight_only": 1, "nvfp4_per_token": 0.5,
}  # fmt: skip
# Bandwidth is measured by a copy; reading alone can be faster by this factor.
TOLERANCE = 1.15
# One figure, or an array of them.
Numbers = TypeVar("Numbers", float, np.ndarray)
MOST_STEPS = 1000  # of the iteration for the critical batch; a dense model takes two


def as_loaded(model: Model, quantization: str | None) -> Model:
    """A model whose weights vLLM quantizes as it loads them; any other as it is.

    The head stays as it is.
    """
    if model.quantization is not None or quantization not in LOADED_BYTES:
        return model
    share = min(1.0, LOADED_BYTES[quantization] / model.dtype_bytes)
    changed: dict[str, object] = {
        "layer_bytes": model.layer_bytes and model.layer_bytes * share,
        "multiplied_in": "fp8" if quantization.startswith("fp8") else quantization,
    }
    if (experts := model.experts) and experts.loaded_bytes:
        loaded = {"loaded_bytes": experts.loaded_bytes * share}
        changed["experts"] = experts.model_copy(update=loaded)
    return model.model_copy(update=changed)


def read_weight_bytes(model: Model, batch: float = 1.0) -> float:
    """Bytes of weights that a decode step of ``batch`` queries reads.

    All but the embedding table, of which a step reads one row a query; a table that is tied to
    the output head is read in full, as the head.

    Of a mixture's E experts a token reads k, and b tokens E (1 - (1 - k/E)^b) on average if each is
    sent to any k with the same chance, independent of the others: all at most. Real tokens prefer
    the same experts and read fewer. One token reads k whatever it prefers.
    """
    return _weight_bytes(model) - _expert_bytes(model) * (1 - _share_read(model, batch))


def _weight_bytes(model: Model) -> float:
    return _known(model.layer_bytes) + _known(model.head_bytes)


def _expert_bytes(model: Model) -> float:
    return _known(model.experts.loaded_bytes) if model.experts else 0


def _share_read(model: Model, batch: float) -> float:
    """Of a mixture's experts, those that a step reads, 0 to 1."""
    if model.experts is None:
        return 0.0
    return float(1 - (1 - model.experts.per_token / model.experts.count) ** batch)


def _active_layer_parameters(model: Model) -> int:
    """Of the parameters without embedding table and head, those that a token is computed with."""
    idle = _known(model.parameters) - _known(model.active_parameters)
    return _known(model.layer_parameters) - idle


def kv_bytes(model: Model, context_tokens: Numbers, kv_cache_dtype: str = "auto") -> Numbers:
    """Bytes of keys and values of a context in all layers.

    Layers that look back over a window keep no more than it holds. The state of layers that keep
    one in place of keys and values is not counted, so limits made of this stay bounds.
    """
    size = KV_BYTES.get(kv_cache_dtype) or model.dtype_bytes
    values = model.kv_values or 2 * _known(model.num_kv_heads) * _known(model.head_dim)
    kept: Numbers = _kv_layers(model) * context_tokens
    if model.window_layers:
        kept = kept + model.window_layers * np.minimum(context_tokens, _known(model.window))
    return kept * values * size


def _kv_layers(model: Model) -> int:
    return model.num_layers if model.kv_layers is None else model.kv_layers


def _known(value: int | None) -> int:
    """The value; a ValueError where the model is not described."""
    if value is None:
        raise ValueError("the model is not described: see Model.not_known")
    return value


def decode_limit_ms(bytes_per_step: float, bandwidth_gb_s: float) -> float:
    """Least time of a decode step, ms: its bytes over the memory bandwidth (10^9 bytes/s)."""
    return bytes_per_step / bandwidth_gb_s / 1e6


def flops(model: Model, tokens: Numbers, sampled: Numbers, attended: Numbers) -> Numbers:
    """Operations: two a weight and token; the head for those that give the next token; attention.

    Attention: scores and their sum over the context, 2 operations each, in every head and layer
    that looks back over the whole context; those of a window are not counted.

    Args:
        tokens: computed. sampled: of them, those that are followed by a new one.
        attended: the tokens that each of them looks back on, summed.
    """
    weights = (
        _active_layer_parameters(model) * tokens + _known(model.embedding_parameters) * sampled
    )
    width = _kv_layers(model) * _known(model.num_heads) * _known(model.head_dim)
    made: Numbers = 2 * weights + 4 * width * attended
    return made


def decode_flops(model: Model, context_tokens: float) -> float:
    """Operations of one token after a context."""
    return flops(model, 1.0, 1.0, context_tokens)


def prefill_flops(model: Model, tokens: float) -> float:
    """Operations of a prompt, whose last token alone is followed by a new one.

    Attention is causal: a token sees half of the prompt on average.
    """
    return flops(model, tokens, 1.0, tokens**2 / 2)


def critical_batch(
    model: Model,
    bandwidth_gb_s: float,
    tflop_s: float,
    kv_bytes: float = 0.0,
    context_tokens: float = 0.0,
) -> float:
    """Queries in a step from which the matrix rate, not bandwidth, bounds it; may be infinite.

    A step of b queries reads W + b K bytes (weights; keys and values of a query's context) and
    computes b C operations: (W + b K) / B = b C / F at b = (W / B) / (C / F - K / B). If a query's
    keys and values take longer to read than its token to compute, no batch is large enough. W of a
    mixture of experts grows with b, ever more slowly, so from b of all experts the right-hand side
    falls to the one b that it gives back.
    """
    computing_s = decode_flops(model, context_tokens) / (tflop_s * 1e12)
    reading_s = kv_bytes / (bandwidth_gb_s * 1e9)
    if computing_s <= reading_s:
        return math.inf
    batch = math.inf
    for _ in range(MOST_STEPS):
        weights_s = read_weight_bytes(model, batch) / (bandwidth_gb_s * 1e9)
        before, batch = batch, weights_s / (computing_s - reading_s)
        if math.isclose(before, batch):
            break
    return batch


@dataclass(frozen=True)
class Roofline:
    """What the machine's measured limits allow a run, at its batch and its lengths."""

    # Measured, of all devices that share a layer.
    bandwidth_gb_s: float
    rate_tflop_s: float
    decode_limit_ms: float  # least time to read a step's bytes at the run's batch and context
    decode_computing_ms: float  # least time of the step's arithmetic
    prefill_limit_ms: float  # least time of a prompt of mean length
    critical_batch: float  # from which arithmetic bounds a step at this context; may be infinite
    weights_ms: float  # to read all weights
    kv_ms: float  # to read the keys and values of one query
    batch: float  # queries in a decode step
    # Of a query, on average.
    context_tokens: float
    input_tokens: float
    experts_ms: float = 0.0  # of ``weights_ms`` the routed experts
    expert_share: float = 1.0  # of them, that one token reads, 0 to 1

    def reading_ms(self, batch: np.ndarray) -> np.ndarray:
        """Least time to read a step's bytes, for each number of queries."""
        return self.weights_read_ms(batch) + self.kv_ms * batch

    def weights_read_ms(self, tokens: np.ndarray) -> np.ndarray:
        """Least time to read the weights that a step needs, for each number of tokens."""
        idle_ms: np.ndarray = self.experts_ms * (1 - self.expert_share) ** tokens
        return self.weights_ms - idle_ms


def roofline(
    model: Model,
    machine: MachineLimits | None,
    metrics: Metrics,
    batch: float,
    input_tokens: float,
    kv_cache_dtype: str = "auto",
    shared: float = 1,
) -> Roofline | None:
    """The limits of a run; None where one of them, or the model, is not known.

    Args:
        model: of ``as_loaded``. batch: queries in a step, mean.
        input_tokens: prompt tokens of a query, mean. shared: devices that share each layer.
    """
    bandwidth = shared * machine.memory_bandwidth_gb_s if machine else 0.0
    rate = shared * _matrix_rate(model, machine)
    if not bandwidth or not rate or model.not_known:
        return None
    answered = metrics.output_tokens.mean
    context = input_tokens + (0 if math.isnan(answered) else answered / 2)
    kv = float(kv_bytes(model, context, kv_cache_dtype))
    batch = max(1.0, batch)
    step_bytes = read_weight_bytes(model, batch) + kv * batch
    return Roofline(
        bandwidth_gb_s=bandwidth,
        rate_tflop_s=rate,
        decode_limit_ms=decode_limit_ms(step_bytes, bandwidth),
        decode_computing_ms=decode_flops(model, context) * batch / rate / 1e9,
        prefill_limit_ms=prefill_flops(model, input_tokens) / rate / 1e9,
        critical_batch=critical_batch(model, bandwidth, rate, kv, context),
        weights_ms=decode_limit_ms(_weight_bytes(model), bandwidth),
        kv_ms=decode_limit_ms(kv, bandwidth),
        batch=batch,
        context_tokens=context,
        input_tokens=input_tokens,
        experts_ms=decode_limit_ms(_expert_bytes(model), bandwidth),
        expert_share=_share_read(model, 1.0),
    )


def say_share(share: float) -> str:
    """A share of a limit, "28 %"; above 100 % the limit is what is wrong."""
    return "limit measured too low" if share > 1 else percent(share)


def multiplied_in(model: Model, device: str) -> str:
    """The type that layers multiply in, or a method's name where that is not known; "" of a server.

    Weights of four bits (AWQ, GPTQ) are unpacked to the type that the model is run in and are
    multiplied in that. vLLM on a CPU multiplies them in int8 if the type is bfloat16 and the CPU
    has AMX (its VLLM_CPU_INT4_W4A8), so nothing is claimed of those.

    Args:
        model: of ``as_loaded``. device: "cpu" or "cuda".
    """
    multiplied = model.multiplied_in or model.dtype or ""
    unsure = model.quantization and device == "cpu" and multiplied == "bfloat16"
    return "int8" if unsure else multiplied


def _matrix_rate(model: Model, machine: MachineLimits | None) -> float:
    """TFLOP/s of the type that is multiplied in; 0 where it was not measured."""
    if machine is None:
        return 0.0
    return machine.matrix_tflop_s.get(multiplied_in(model, machine.device), 0.0)


def impossible(
    model: Model,
    machine: MachineLimits | None,
    metrics: Metrics,
    shared: int = 1,
    devices: int = 1,
) -> list[str]:
    """Figures above what the machine's measured limits allow, each as a sentence; mostly empty.

    Only bounds that hold whatever the batch: a token takes at least one reading of the weights that
    it needs itself, and a second of work at least its operations. Such a figure is a fault of the
    clock, the token counts, the measured limits or the configuration (speculative decoding breaks
    the first).

    Args:
        model: of ``as_loaded``.
        shared: devices that share each layer. devices: all that compute.
    """
    flags: list[str] = []
    if model.not_known:
        return flags
    bandwidth = shared * machine.memory_bandwidth_gb_s if machine else 0.0
    tpot_ms = metrics.tpot_ms.mean
    if bandwidth:
        least_ms = decode_limit_ms(read_weight_bytes(model), bandwidth)
        if tpot_ms * TOLERANCE < least_ms:
            flags.append(
                f"The mean time per output token, {tpot_ms:.3g} ms, is less than the "
                f"{least_ms:.3g} ms that one reading of the weights takes at {bandwidth:.4g} GB/s."
            )
    rate = devices * _matrix_rate(model, machine)
    computed = (
        metrics.tokens_per_s * decode_flops(model, 0)
        + metrics.input_tokens_per_s * 2 * _active_layer_parameters(model)
    ) / 1e12
    if rate and computed > rate * TOLERANCE:
        flags.append(
            f"The answered prompts and tokens come to {computed:.3g} TFLOP/s at least, above the "
            f"{rate:.3g} TFLOP/s that the machine reached."
        )
    return flags
