"""Kinds of checkpoints, written by transformers' own classes: described rightly, or not at all.

What is right is what transformers holds: the parameters of the model that it builds, and the keys
and values that are in its cache after some tokens.
"""

import json

import pytest
from checkpoints import write_config

from loadgen_study.analysis.roofline import kv_bytes
from loadgen_study.facts.inputs import DTYPE_BYTES
from loadgen_study.inputs import models
from vllm_loadgen.errors import ParameterError

pytestmark = pytest.mark.process

SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
       "moe_intermediate_size": 32}  # fmt: skip
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
TOKENS = 12
# These classes know no heads of keys and values.
MULTI_HEAD = {name: value for name, value in SMALL.items() if name != "num_key_value_heads"}
SMALL_OF = dict.fromkeys(
    ["GPT2Config", "BloomConfig", "MptConfig", "GPTBigCodeConfig", "OPTConfig"], MULTI_HEAD
)
# Class -> what is changed of SMALL: heads by other names, experts, windows, layers that differ.
KINDS = {
    "LlamaConfig": {},
    "GPT2Config": {"n_embd": 64, "n_head": 4, "n_layer": 4, "n_positions": 256},
    "BloomConfig": {"n_head": 4, "n_layer": 4},
    "MptConfig": {"d_model": 64, "n_heads": 4, "n_layers": 4},
    "FalconConfig": {"multi_query": True},
    "GPTBigCodeConfig": {"n_embd": 64, "n_head": 4, "n_layer": 4, "n_inner": 96},
    "OPTConfig": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "Gemma2Config": {"head_dim": 24, "sliding_window": 32},
    "Gemma3TextConfig": {"head_dim": 24, "sliding_window": 32},
    "MistralConfig": {"sliding_window": 32, "head_dim": 16},
    "GptOssConfig": MOE | {"head_dim": 16, "sliding_window": 32},
    "MixtralConfig": MOE | {"head_dim": 16},
    "Phi3Config": {
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
        "original_max_position_embeddings": 128,
    },
    "JambaConfig": MOE | {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8,
                          "use_mamba_kernels": False},
    "BambaConfig": MAMBA | {"attn_layer_indices": [1]},
    "FalconH1Config": MAMBA | {"mamba_d_ssm": 128, "head_dim": 16},
    "GraniteMoeHybridConfig": MAMBA | MOE | {"layer_types": ["mamba", "attention"] * 2,
                                             "shared_intermediate_size": 64},
    "Qwen3NextConfig": MOE | {
        "head_dim": 16, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "shared_expert_intermediate_size": 32,
    },
    "MiniMaxConfig": MOE | {"head_dim": 16},
    "Lfm2Config": {"layer_types": ["conv", "full_attention"] * 2},
    "RecurrentGemmaConfig": {"lru_width": 64, "attention_window_size": 32, "head_dim": 16},
    "DeepseekV3Config": {
        "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "n_group": 1, "topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    },
}  # fmt: skip


def cached_values(model):
    """Keys and values in transformers' cache after TOKENS tokens."""
    import torch

    ids = torch.arange(3, 3 + TOKENS)[None]
    with torch.inference_mode():
        cache = model.eval()(ids, use_cache=True).past_key_values
    kept = [getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values")]
    return sum(tensor.numel() for tensor in kept if tensor is not None)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_described_as_transformers_computes_it(tmp_path, name):
    import transformers

    config = getattr(transformers, name)(**SMALL_OF.get(name, SMALL) | KINDS[name])
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "files")
    write_config(tmp_path / "alone", json.loads((tmp_path / "files/config.json").read_text()))
    # What DeepSeek's router adds is no parameter of PyTorch's, and is loaded like one.
    bias = [one for name, one in model.named_buffers() if name.endswith("e_score_correction_bias")]
    parameters = sum(tensor.numel() for tensor in [*model.parameters(), *bias])
    for folder in ("files", "alone"):
        found = models.describe("m", tmp_path / folder, "bfloat16")
        assert (found.parameters, found.weight_bytes) == (parameters, 2 * parameters), folder
        assert (found.num_layers, found.vocab_size) == (4, 300)
        assert not found.not_known
        # transformers caches DeepSeek's keys and values of each head, vLLM one vector for all.
        if not found.kv_values and name != "RecurrentGemmaConfig":  # no cache of its own kind
            assert kv_bytes(found, TOKENS) == cached_values(model) * DTYPE_BYTES["bfloat16"]
    assert found.num_heads == 4


def written(folder, config):
    """A folder with the config.json of a class of transformers', and no weights."""
    config.save_pretrained(folder)
    return models.describe("m", folder, "bfloat16")


def test_a_state_space_model_has_weights_and_no_attention(tmp_path):
    """Mamba-2's num_heads are not those of attention."""
    from transformers import Mamba2Config, MambaConfig

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 300}
    heads = {"num_heads": 8, "head_dim": 16, "n_groups": 1}
    for name, config in (("1", MambaConfig(**shape)), ("2", Mamba2Config(**shape, **heads))):
        found = written(tmp_path / name, config)
        assert found.parameters > 300 * 64
        assert found.weight_bytes
        assert found.not_known == "attention"
        assert (found.num_heads, found.num_kv_heads, found.head_dim) == (None, None, None)


def test_a_decoder_within_another_model(tmp_path):
    import transformers

    for name, decoder in (("Gemma3Config", {"head_dim": 24, "sliding_window": 32}),
                          ("Mistral3Config", {"head_dim": 24, "model_type": "mistral"}),
                          ("Qwen2_5_VLConfig", {})):  # fmt: skip
        config = getattr(transformers, name)(text_config=SMALL | decoder)
        found = written(tmp_path / name, config)
        head_dim = decoder.get("head_dim", 16)
        assert (found.num_heads, found.num_kv_heads, found.head_dim) == (4, 2, head_dim)
        attention = 64 * head_dim * (4 + 2 + 2 + 4)
        tables = 300 * 64 * (1 if found.tied_embeddings else 2)
        # Norms and biases are some hundreds.
        assert found.parameters - tables == pytest.approx(4 * (attention + 3 * 64 * 96), abs=2_000)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        # Chunked attention; keys and values that layers share; heads that differ by layer.
        ("Llama4TextConfig", {"attention_chunk_size": 32, "head_dim": 16}),
        ("Gemma3nTextConfig", {"head_dim": 16, "num_kv_shared_layers": 2}),
        ("Gemma4TextConfig", {"head_dim": 16, "global_head_dim": 32}),
        ("T5Config", {"d_model": 64, "num_layers": 4, "num_heads": 4}),
        ("RwkvConfig", {}),
    ],
)
def test_what_keys_and_values_are_kept_may_not_be_known(tmp_path, name, config):
    import transformers

    plain = {"hidden_size": 64, "vocab_size": 300} if name == "RwkvConfig" else SMALL
    found = written(tmp_path, getattr(transformers, name)(**plain | config))
    assert "attention" in found.not_known


# Layers that differ, in config.json files of models that bring their own code: OpenELM
# (apple/OpenELM-270M) and Nemotron-NAS (nvidia/Llama-3_1-Nemotron-51B-Instruct), made shorter.
OWN_CODE = {
    "openelm": {"num_query_heads": [12, 12, 16, 20], "num_kv_heads": [3, 3, 4, 5],
                "model_dim": 64, "num_transformer_layers": 4, "hidden_size": 64,
                "num_hidden_layers": 4, "head_dim": 64},
    "nemotron-nas": SMALL | {"num_key_value_heads": None, "block_configs": [
        {"attention": {"n_heads_in_group": group}, "ffn": {"ffn_mult": 2.6}}
        for group in (2, 4, None, 2)]},
}  # fmt: skip


@pytest.mark.parametrize("model_type", OWN_CODE)
def test_of_a_type_that_transformers_does_not_know_nothing_is_claimed(tmp_path, model_type):
    config = OWN_CODE[model_type] | {"model_type": model_type, "vocab_size": 300,
                                     "auto_map": {"AutoConfig": "own.Config"}}  # fmt: skip
    (tmp_path / "own.py").write_text("raise SystemExit('its code was run')\n", encoding="utf-8")
    found = models.describe("m", write_config(tmp_path, config), "bfloat16")
    assert found.not_known == "weights and attention"
    assert (found.parameters, found.num_heads, found.num_layers) == (None, None, 4)


def test_what_is_missing_is_named_with_what_was_found(tmp_path):
    write_config(tmp_path, {"model_type": "of tomorrow", "d_inner": 64, "vocab_size": 300})
    with pytest.raises(
        ParameterError, match=r"of tomorrow\) is not supported; what it gives: d_inner"
    ):
        models.describe("m", tmp_path, "bfloat16")


def test_without_files_a_quantized_model_has_no_known_bytes(tmp_path):
    from transformers import GptOssConfig

    config = GptOssConfig(**SMALL | MOE | {"head_dim": 16})
    config.quantization_config = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    found = written(tmp_path, config)
    assert found.not_known == "weights"
    assert (found.quantization, found.num_heads, found.window_layers) == ("mxfp4", 4, 2)
