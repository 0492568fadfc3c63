import json

import pytest
from checkpoints import LLAMA, described, write_config

from loadgen_study.inputs import models
from loadgen_study.inputs.checkpoint import weigh
from loadgen_study.inputs.config import Config
from vllm_loadgen.errors import ParameterError

# Public config.json files, as far as they count, with what the model cards say: all parameters and
# those of a token, in 10^9.
LLAMA_8B = {
    "model_type": "llama", "tie_word_embeddings": False,
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip
MIXTRAL_8X7B = LLAMA_8B | {
    "model_type": "mixtral",
    "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "head_dim": 128,
    "num_key_value_heads": 4, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936,
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "vocab_size": 129280,
    "num_nextn_predict_layers": 1,
}  # fmt: skip
GPT_2 = {
    "model_type": "gpt2",
    "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "n_inner": None,
    "vocab_size": 50257, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.process
@pytest.mark.parametrize(
    ("config", "billions", "active_billions"),
    [
        (LLAMA_8B, 8.03, 8.03),
        (MIXTRAL_8X7B, 46.7, 12.9),
        (QWEN3_30B_A3B, 30.5, 3.3),
        (DEEPSEEK_V3, 671, 37),
        (GPT_2, 0.124, 0.124),
    ],
)
def test_parameters_of_known_models_by_their_shape(tmp_path, config, billions, active_billions):
    found = described(tmp_path, config, {})
    assert found.parameters / 1e9 == pytest.approx(billions, rel=0.005)
    # Some cards leave the embedding out of what a token takes.
    assert found.active_parameters / 1e9 == pytest.approx(active_billions, rel=0.02)


@pytest.mark.process
def test_parameters_of_llama_3_1_8b(tmp_path):
    found = weigh(Config(write_config(tmp_path, LLAMA_8B)), "bfloat16")
    assert found.parameters == 8_030_261_248  # its model card: 8.03e9


@pytest.mark.process
def test_other_names_of_the_same_shape(tmp_path):
    found = described(tmp_path, GPT_2, {})
    assert (found.hidden_size, found.num_layers, found.num_heads) == (768, 12, 12)
    assert (found.num_kv_heads, found.head_dim, found.max_position_embeddings) == (12, 64, 1024)


@pytest.mark.parametrize(
    ("given", "heads"),
    [
        ({"num_key_value_heads": None}, 4),
        ({"num_key_value_heads": [4, 2]}, None),
        ({"num_attention_heads": None}, None),
    ],
)
def test_heads_of_keys_and_values(tmp_path, given, heads):
    assert described(tmp_path, LLAMA | given, {}).num_kv_heads == heads


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "vocab_size"])
@pytest.mark.parametrize("value", [None, "many", 0, [], {}])
def test_a_config_without_what_is_needed_is_one_line(tmp_path, name, value):
    with pytest.raises(ParameterError, match=f"model = .*: config.json gives no {name}.*not supp"):
        described(tmp_path, LLAMA | {name: value}, {})


@pytest.mark.parametrize("text", ["{", "[]", "3", "\udcff"])
def test_a_damaged_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    for act in (lambda: models.resolve_dtype("auto", tmp_path),
                lambda: models.describe("x", tmp_path, "bfloat16")):  # fmt: skip
        with pytest.raises(ParameterError, match=r"config\.json cannot be read"):
            act()


@pytest.mark.parametrize(
    "odd",
    [
        {"architectures": []},
        {"quantization_config": "awq"},
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": [1]}},
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"a": 1}}},
        {"quantization_config": {"bits": "four"}},
        {"max_position_embeddings": "inf"},
    ],
)
def test_odd_values_that_are_not_needed_are_passed_over(tmp_path, odd):
    assert described(tmp_path, LLAMA | odd, {}).hidden_size == 64


def test_the_type_of_a_model_may_be_said_of_its_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "computes_in", lambda dtype: True)
    config = {"text_config": LLAMA | {"head_dim": 16, "dtype": "float16"}}
    assert models.resolve_dtype("auto", write_config(tmp_path, config)) == "float16"


@pytest.mark.process
def test_values_that_a_decoder_leaves_out_are_those_of_its_class(tmp_path):
    """google/gemma-3-4b-it's config.json gives neither heads nor vocabulary."""
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "sliding_window": 1024,
        },
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
    }  # fmt: skip
    found = described(tmp_path, config, {})
    assert (found.num_heads, found.num_kv_heads, found.head_dim) == (8, 4, 256)
    assert found.vocab_size == 262_208
    assert found.tied_embeddings
    assert found.parameters == pytest.approx(3.88e9, rel=0.005)


@pytest.mark.process
def test_a_model_that_transformers_does_not_know_is_one_line(tmp_path):
    config = {"model_type": "of tomorrow", "hidden_size": 64}
    write_config(tmp_path, config | {"auto_map": {"AutoConfig": "configuration.Config"}})
    (tmp_path / "configuration.py").write_text("raise SystemExit('its code was run')\n")
    with pytest.raises(ParameterError, match=r"config\.json gives no num_hidden_layers"):
        models.describe("x", tmp_path, "bfloat16")
    assert json.loads((tmp_path / "config.json").read_text())["hidden_size"] == 64


def test_a_config_that_is_nested_without_end_is_one_error(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ParameterError, match=r"config\.json cannot be read"):
        Config(tmp_path)
