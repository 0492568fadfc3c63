"""A checkpoint's config.json: the decoder's shape, its experts, how it is quantized.

Models name the same things differently, nest the decoder of a model that also sees or hears, and
leave out their class's defaults. The rest of the project knows one shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loadgen_study.facts.inputs import Attention
from vllm_loadgen.checkpoint import read_json
from vllm_loadgen.errors import ParameterError

# The names of the decoder's part in a model for more than text.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
# Other names of the same thing (the attribute_map of transformers' configurations, and models that
# bring code of their own).
NAMES = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length"),
    "num_experts": ("num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": (
        "num_experts_per_token", "experts_per_token", "moe_k", "moe_topk", "moe_top_k",
        "top_k_experts",
    ),
}  # fmt: skip
NEEDED = ("hidden_size", "num_hidden_layers", "vocab_size")
# Files with a quantization that config.json does not mention, and its method.
QUANTIZATION_FILES = {
    "hf_quant_config.json": "modelopt",
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
}
# Model types whose layers are alike: no import of transformers is needed, which takes seconds.
UNIFORM = ("llama",)
# Kinds of layers, as transformers calls them: those that keep keys and values of the whole context,
# of a window, and none. Chunked attention (Llama 4) is none of them.
WHOLE = ("full_attention", "attention", "hybrid")
WINDOWED = ("sliding_attention",)
WITHOUT = ("linear_attention", "mamba", "recurrent", "conv", "moe", "mlp")
MOST_CHARS = 200  # of a file's own words in a message
# The layers' inputs stay as they are; weights are unpacked to their type as they are multiplied.
WEIGHT_ONLY = ("awq", "gptq", "awq_marlin", "gptq_marlin", "auto_awq", "auto_gptq", "auto-round")
FP8 = ("fp8", "fbgemm_fp8")


@dataclass(frozen=True)
class Quantization:
    """How a checkpoint's weights are quantized."""

    method: str  # as vLLM calls it: "awq", "gptq", "fp8", "compressed-tensors", ...
    weight_bits: int  # of a weight; of several, the most: no bound is made too tight by it
    # The type that inputs are quantized to, such as "fp8" or "int8"; the method where that is not
    # known; None where they stay in the type that the model is run in.
    multiplied_in: str | None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Quantization":
        """From a ``quantization_config``."""
        method = str(values.get("quant_method") or "unknown").lower()
        bits = _number(values, "bits", "w_bit") or 4
        if method in WEIGHT_ONLY:
            return cls(method, bits, None)
        algorithm = str(values.get("quant_algo")).upper()
        if method in FP8 or (method, algorithm) == ("modelopt", "FP8"):
            return cls(method, 8, "fp8")
        if method == "bitsandbytes":
            return cls(method, 8, "int8") if values.get("load_in_8bit") else cls(method, 4, None)
        if method == "compressed-tensors":
            return cls._of_groups(method, values)
        return cls(method, bits, method)

    @classmethod
    def _of_groups(cls, method: str, values: Mapping[str, Any]) -> "Quantization":
        found = _part(values, "config_groups").values()
        groups = [group for group in found if isinstance(group, dict)]
        weights = [_number(_part(group, "weights"), "num_bits") or 0 for group in groups]
        inputs = [part for group in groups if (part := _part(group, "input_activations"))]
        kinds = {f"{'fp' if part.get('type') == 'float' else 'int'}{part.get('num_bits')}"
                 for part in inputs}  # fmt: skip
        multiplied_in = kinds.pop() if len(kinds) == 1 else method if kinds else None
        return cls(method, max(weights, default=0) or 4, multiplied_in)


class Config:
    """A checkpoint's config.json, with the decoder's values in reach by one name each."""

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        self.folder = folder
        self._trust_remote_code = trust_remote_code
        self.top = read_json(folder / "config.json")
        own, nested = self.top, False
        while inner := next((own[key] for key in TEXT_CONFIGS if _part(own, key)), None):
            own, nested = inner, True
        # What the decoder's part lacks, such as how it is quantized, may stand at the top;
        # DBRX keeps its experts apart.
        self._values = _given(self.top) | _given(_part(own, "ffn_config")) | _given(own)
        # transformers writes an inner configuration without the values that are its class's own.
        if nested or any(self.number(name) is None for name in NEEDED):
            self._values = self._defaults() | self._values

    @cached_property
    def built(self) -> Any:
        """The configuration as transformers' class reads it; None if transformers cannot."""
        if "model_type" not in self.top:
            return None
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(
                self.folder, trust_remote_code=self._trust_remote_code
            )
        except Exception:  # an unknown model; what is missing is named by ``need``
            return None

    @cached_property
    def decoder(self) -> Any:
        """The part of ``built`` that writes text; None if there is none."""
        try:
            return self.built.get_text_config()
        except Exception:  # of any type, where the class is the checkpoint's own
            return None

    def _defaults(self) -> dict[str, Any]:
        """The class's defaults for values that are not given; empty of an unknown class."""
        try:
            values = self.decoder.to_dict()
            names = self.decoder.attribute_map.items()
        except Exception:  # as above
            return {}
        return _given({name: values.get(own) for name, own in names} | values)

    def get(self, name: str) -> Any:
        """A value by its own name; None if it is not given."""
        return self._values.get(name)

    def number(self, name: str) -> int | None:
        """A whole number above 0 by any of its names, the least of all layers; None without it."""
        return _number(self._values, name, *NAMES.get(name, ()))

    @property
    def architecture(self) -> str:
        """The model's class."""
        named = self.top.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else "unknown"

    def need(self, name: str) -> int:
        """``number``.

        Raises:
            ParameterError: if config.json does not give it.
        """
        if (value := self.number(name)) is None:
            kind = str(self.top.get("model_type") or self.architecture)[:MOST_CHARS]
            given = ", ".join(sorted(self._values))[:MOST_CHARS] or "nothing"
            problem = (
                f"config.json gives no {name}, so this kind of model ({kind}) is not supported; "
                f"what it gives: {given}"
            )
            raise ParameterError("model", str(self.folder), problem, "give another model")
        return value

    @property
    def attention(self) -> Attention | None:
        """What attention keeps of a token; None where it is not known.

        It is known of transformers' own model types whose layers differ only in their kind. Other
        types may do anything, whatever the names in their config.json.
        """
        heads = self.get("num_attention_heads")
        try:
            if self.get("model_type") in UNIFORM and heads:
                return Attention(
                    num_heads=heads,
                    num_kv_heads=self.get("num_key_value_heads") or heads,
                    head_dim=self.get("head_dim") or self.need("hidden_size") // heads,
                    kv_layers=self.need("num_hidden_layers"),
                )
            return self._of_kinds(self.decoder)
        except Exception:  # no such class, or one whose layers differ, which raises its own
            return None

    def _of_kinds(self, decoder: Any) -> Attention | None:
        """By the kinds of the layers, which transformers names."""
        own_code = not type(decoder).__module__.startswith("transformers.models.")
        # Some layers of Gemma 3n take the keys and values of an earlier one.
        shared = getattr(decoder, "num_kv_shared_layers", 0)
        latent = getattr(decoder, "kv_lora_rank", None) and not self.latent
        if own_code or decoder.is_encoder_decoder or shared or latent:
            return None
        num_layers, window = self.need("num_hidden_layers"), getattr(decoder, "sliding_window", 0)
        usual = ["sliding_attention" if window else "full_attention"] * num_layers
        kinds = getattr(decoder, "layer_types", None) or getattr(
            decoder, "layers_block_type", usual
        )
        if decoder.model_type == "recurrent_gemma":
            kinds = ["sliding_attention" if kind == "attention" else kind for kind in kinds]
        layers, windowed, without = (
            sum(kind in some for kind in kinds) for some in (WHOLE, WINDOWED, WITHOUT)
        )
        heads = getattr(decoder, "num_attention_heads", None)
        kv_heads = getattr(decoder, "num_key_value_heads", None) or heads
        # As in vLLM's ModelConfig: Falcon's older models share one head and do not count it.
        if decoder.model_type == "falcon":
            new = decoder.new_decoder_architecture
            kv_heads = decoder.num_kv_heads if new or not decoder.multi_query else 1
        # Heads that differ by layer are a list.
        whole = isinstance(heads, int) and isinstance(kv_heads, int)
        if layers + windowed + without != num_layers or (windowed and not window) or not whole:
            return None
        head_dim = getattr(decoder, "head_dim", None) or decoder.hidden_size // heads
        if self.latent:
            key = self.need("qk_nope_head_dim") + self.need("qk_rope_head_dim")
            head_dim = (key + self.need("v_head_dim")) // 2
        return Attention(
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            kv_layers=layers,
            window_layers=windowed,
            window=window if windowed else None,
        )

    @property
    def latent(self) -> int | None:
        """Values of a token in a layer's KV cache under multi-latent attention, None without it.

        Keys and values of all heads are one vector, and the rotated part of the key (DeepSeek-V2,
        2024, section 2.1).
        """
        rank = self.number("kv_lora_rank")
        return rank + self.need("qk_rope_head_dim") if rank else None

    @property
    def tied(self) -> bool | None:
        """Whether the output head is the embedding table; None if not given."""
        known = self.get("tie_word_embeddings")
        return None if known is None else bool(known)

    @cached_property
    def quantization(self) -> Quantization | None:
        """How the weights are quantized; None if they are not."""
        for name in ("quantization_config", "compression_config"):
            if found := _part(self._values, name):
                return Quantization.parse(found)
        for name, method in QUANTIZATION_FILES.items():
            if (self.folder / name).is_file():
                values = read_json(self.folder / name)
                values = _part(values, "quantization") or values
                return Quantization.parse({"quant_method": method} | values)
        return None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _part(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _number(values: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = values.get(name)
        each = value if isinstance(value, list) else [value]
        if each and all(isinstance(one, int) and one > 0 for one in each):
            return int(min(each))
    return None
