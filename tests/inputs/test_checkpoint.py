import json
import math

import pytest
from checkpoints import (
    ATTENTION,
    BYTES,
    LAYER,
    LLAMA,
    MLP,
    NORMS,
    PARAMETERS,
    TABLE,
    described,
    llama,
    write_config,
    write_header,
)

from loadgen_study.inputs import models
from vllm_loadgen.errors import ParameterError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


# Dense --------------------------------------------------------------------------------------
@pytest.mark.process
def test_headers_and_shape_count_the_same(folder, tmp_path):
    found = described(folder, LLAMA, llama())
    assert found.parameters == found.active_parameters == PARAMETERS
    assert found.weight_bytes == 2 * PARAMETERS
    assert found.stored_bytes == {"BF16": 2 * PARAMETERS}
    assert (found.layer_parameters, found.layer_bytes) == (2 * LAYER + 64, 2 * (2 * LAYER + 64))
    assert (found.embedding_parameters, found.head_bytes) == (TABLE, 2 * TABLE)
    assert not found.tied_embeddings
    assert found.experts is found.quantization is None
    by_shape = described(tmp_path / "shape", LLAMA | {"model_type": "llama"}, {})
    left_out = {"sha256", "stored_bytes"}
    assert by_shape.model_dump(exclude=left_out) == found.model_dump(exclude=left_out)


@pytest.mark.parametrize(("told", "head"), [(True, False), (None, False), (True, True)])
def test_a_tied_head_is_counted_once(folder, told, head):
    found = described(folder, LLAMA | {"tie_word_embeddings": told}, llama(head=head))
    assert found.tied_embeddings
    assert found.parameters == PARAMETERS - TABLE
    assert found.weight_bytes == 2 * found.parameters
    assert found.head_bytes == 2 * TABLE  # a step reads the table, as the head


def test_weights_are_held_in_the_type_that_is_run(folder):
    found = described(folder, LLAMA, llama(), dtype="float32")
    assert found.weight_bytes == 4 * PARAMETERS
    assert found.stored_bytes == {"BF16": 2 * PARAMETERS}


def test_a_table_under_another_name_is_no_layer(folder):
    tensors = llama()
    tensors["model.tokens_table"] = tensors.pop("model.embed_tokens.weight")
    found = described(folder, LLAMA, tensors)
    assert (found.parameters, found.embedding_parameters) == (PARAMETERS, TABLE)
    assert found.layer_parameters == 2 * LAYER + 64


def test_masks_and_looked_up_positions_are_no_layers(folder):
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [8]),
        "model.layers.0.attn.bias": ("U8", [1, 1, 64, 64]),
        "model.position_ids": ("I64", [1, 64]),
        "model.wpe.weight": ("BF16", [64, 64]),
    }
    found = described(folder, LLAMA, llama() | extra)
    assert found.parameters == PARAMETERS + 64 * 64
    assert found.layer_parameters == 2 * LAYER + 64


# For more than text -------------------------------------------------------------------------
GEMMA_LIKE = {
    "architectures": ["Gemma3ForConditionalGeneration"], "torch_dtype": "bfloat16",
    "eos_token_id": [1, 106], "vision_config": {"hidden_size": 1152},
    "model_type": "gemma3", "text_config": LLAMA | {
        "head_dim": 16, "tie_word_embeddings": True, "model_type": "gemma3_text"},
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_the_decoder_of_a_model_that_sees_is_described(folder, prefix):
    towers = {
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": ("BF16", [4304, 1152]),
        "model.vision_tower.embeddings.weight": ("BF16", [4304, 1152]),
        "multi_modal_projector.mm_input_projection_weight": ("BF16", [1152, 64]),
    }
    found = described(folder, GEMMA_LIKE, llama(prefix, head=False) | towers)
    assert found.parameters == PARAMETERS - TABLE
    assert found.tied_embeddings
    assert (found.num_layers, found.head_dim, found.hidden_size) == (2, 16, 64)
    assert found.architecture == "Gemma3ForConditionalGeneration"
    assert found.eos_token_ids == (1, 106)
    assert found.stored_bytes["BF16"] > found.weight_bytes


# Mixtures of experts ------------------------------------------------------------------------
MIXTRAL_LIKE = LLAMA | {"num_local_experts": 8, "num_experts_per_tok": 2}
EXPERTS = {
    f"block_sparse_moe.experts.{i}.{name}.weight": ("BF16", shape)
    for i in range(8)
    for name, shape in {"w1": [128, 64], "w2": [64, 128], "w3": [128, 64]}.items()
}
FUSED = {
    "mlp.experts.gate_up_proj": ("BF16", [8, 64, 256]),
    "mlp.experts.down_proj": ("BF16", [8, 128, 64]),
}
ROUTER = {"block_sparse_moe.gate.weight": ("BF16", [8, 64])}


@pytest.mark.process
@pytest.mark.parametrize("experts", [EXPERTS, FUSED])
def test_a_token_takes_two_of_eight_experts(folder, tmp_path, experts):
    found = described(folder, MIXTRAL_LIKE, llama(mlp=experts | ROUTER))
    assert found.parameters == PARAMETERS + 2 * (7 * MLP + 8 * 64)
    assert found.active_parameters == PARAMETERS + 2 * (MLP + 8 * 64)
    assert found.experts.model_dump() == {
        "count": 8, "per_token": 2, "parameters": 16 * MLP, "loaded_bytes": 32 * MLP,
    }  # fmt: skip
    by_shape = described(tmp_path / "shape", MIXTRAL_LIKE | {"model_type": "mixtral"}, {})
    assert by_shape.experts == found.experts
    assert by_shape.parameters == found.parameters


DEEPSEEK_LIKE = LLAMA | {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_shared_experts": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
}  # fmt: skip


def deepseek():
    """The first layer dense, the second with experts, a third that guesses further tokens."""
    attention = {
        "q_a_proj.weight": [24, 64], "q_a_layernorm.weight": [24], "q_b_proj.weight": [96, 24],
        "kv_a_proj_with_mqa.weight": [24, 64], "kv_a_layernorm.weight": [16],
        "kv_b_proj.weight": [128, 16], "o_proj.weight": [64, 64],
    }  # fmt: skip
    mlps = [f"experts.{i}." for i in range(4)] + ["shared_experts."]
    tensors = {name: tensor for name, tensor in llama().items()
               if "self_attn" not in name and "layers.1.mlp" not in name}  # fmt: skip
    for name, shape in attention.items():
        tensors |= {f"model.layers.{i}.self_attn.{name}": ("BF16", shape) for i in range(2)}
    for i in (1, 2):
        tensors[f"model.layers.{i}.mlp.gate.weight"] = ("BF16", [4, 64])
        for mlp in mlps:
            tensors |= {f"model.layers.{i}.mlp.{mlp}{name}_proj.weight": ("BF16", [32, 64])
                        for name in ("gate", "up", "down")}  # fmt: skip
    return tensors | {"model.layers.2.embed_tokens.weight": ("BF16", [1000, 64])}


@pytest.mark.process
def test_shared_experts_are_always_read_and_guessing_layers_never(folder, tmp_path):
    config = DEEPSEEK_LIKE | {"model_type": "deepseek_v3", "n_group": 1, "topk_group": 1}
    found = described(folder, config, deepseek())
    expert = 3 * 32 * 64
    assert found.experts.parameters == 4 * expert
    assert found.parameters - found.active_parameters == 2 * expert
    assert found.embedding_parameters == TABLE
    assert found.kv_values == 16 + 8
    assert found.head_dim == (16 + 8 + 16) // 2
    by_shape = described(tmp_path / "shape", config, {})
    # The class has a bias for each expert of a router, which these files do not have.
    assert by_shape.parameters == found.parameters + 4
    assert by_shape.active_parameters == found.active_parameters + 4


def test_without_how_many_experts_a_token_takes_the_weights_are_not_known(folder):
    config = {name: value for name, value in MIXTRAL_LIKE.items() if "per_tok" not in name}
    assert described(folder, config, llama(mlp=EXPERTS)).not_known == "weights"


# Quantized ----------------------------------------------------------------------------------
def quantized(pack, tensors=None):
    """``pack`` makes of each matrix of the layers, by its name without .weight, its tensors."""
    packed = {}
    for name, (dtype, shape) in (tensors or llama()).items():
        if name.endswith("_proj.weight"):
            packed |= pack(name.removesuffix(".weight"), *shape)
        else:
            packed[name] = (dtype, shape)
    return packed


def awq(name, out, wide):
    return {
        f"{name}.qweight": ("I32", [wide, out // 8]),
        f"{name}.qzeros": ("I32", [wide // 32, out // 8]),
        f"{name}.scales": ("F16", [wide // 32, out]),
    }


def gptq(name, out, wide):
    return {
        f"{name}.qweight": ("I32", [wide // 8, out]),
        f"{name}.qzeros": ("I32", [wide // 32, out // 8]),
        f"{name}.scales": ("F16", [wide // 32, out]),
        f"{name}.g_idx": ("I32", [wide]),
    }


def gptq_3_bits(name, out, wide):
    return gptq(name, out, wide) | {f"{name}.qweight": ("I32", [wide * 3 // 32, out])}


def packed_4_bits(name, out, wide):
    return {
        f"{name}.weight_packed": ("I32", [out, wide // 8]),
        f"{name}.weight_scale": ("BF16", [out, wide // 32]),
        f"{name}.weight_shape": ("I64", [2]),
    }


def nvfp4(name, out, wide):
    return {
        f"{name}.weight_packed": ("U8", [out, wide // 2]),
        f"{name}.weight_scale": ("F8_E4M3", [out, wide // 16]),
        f"{name}.weight_global_scale": ("F32", [1]),
        f"{name}.input_global_scale": ("F32", [1]),
    }


def modelopt_fp4(name, out, wide):
    return {
        f"{name}.weight": ("U8", [out, wide // 2]),
        f"{name}.weight_scale": ("F8_E4M3", [out, wide // 16]),
        f"{name}.weight_scale_2": ("F32", []),
        f"{name}.input_scale": ("F32", []),
    }


def bitsandbytes(name, out, wide):
    return {
        f"{name}.weight": ("U8", [out * wide // 2, 1]),
        f"{name}.weight.absmax": ("U8", [out * wide // 64]),
        f"{name}.weight.quant_map": ("F32", [16]),
        f"{name}.weight.quant_state.bitsandbytes__nf4": ("U8", [90]),
    }


def fp8(name, out, wide):
    return {f"{name}.weight": ("F8_E4M3", [out, wide]), f"{name}.weight_scale": ("F32", [out, 1])}


def fp8_blocks(name, out, wide):
    return {f"{name}.weight": ("F8_E4M3", [out, wide]),
            f"{name}.weight_scale_inv": ("F32", [1, 1])}  # fmt: skip


def int8(name, out, wide):
    return {f"{name}.weight": ("I8", [out, wide]), f"{name}.weight_scale": ("BF16", [out, 1])}


def groups(bits, inputs=None, kind="float"):
    """A quantization_config of compressed-tensors."""
    group = {"weights": {"num_bits": bits, "type": kind}, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("pack", "told", "bits", "multiplied_in"),
    [
        (awq, {"quant_method": "awq", "bits": 4}, 4, None),
        (awq, {"quant_method": "awq", "w_bit": 4}, 4, None),
        (gptq, {"quant_method": "gptq", "bits": 4}, 4, None),
        (gptq_3_bits, {"quant_method": "gptq", "bits": 3}, 3, None),
        (packed_4_bits, groups(4, kind="int"), 4, None),
        (nvfp4, groups(4, {"num_bits": 4, "type": "float"}), 4, "fp4"),
        (modelopt_fp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4, "modelopt"),
        (bitsandbytes, {"quant_method": "bitsandbytes", "load_in_4bit": True}, 4, None),
        (fp8, groups(8, {"num_bits": 8, "type": "float"}), 8, "fp8"),
        (fp8_blocks, {"quant_method": "fp8", "activation_scheme": "dynamic"}, 8, "fp8"),
        (fp8, {"quant_method": "modelopt", "quant_algo": "FP8"}, 8, "fp8"),
        (int8, groups(8, {"num_bits": 8, "type": "int"}), 8, "int8"),
        (fp8, {"quant_method": "of tomorrow"}, 8, "of tomorrow"),
    ],
)  # fmt: skip
def test_parameters_are_weights_and_not_the_words_they_are_packed_into(
    folder, pack, told, bits, multiplied_in
):
    tensors = quantized(pack)
    found = described(folder, LLAMA | {"quantization_config": told}, tensors)
    assert found.parameters == PARAMETERS
    assert found.quantization == told["quant_method"]
    assert found.multiplied_in == multiplied_in
    # Bytes are those of the files, scales included (float32 scales are held as they are run).
    matrices = 2 * (ATTENTION + MLP)
    assert matrices * bits / 8 < found.layer_bytes - 2 * (2 * NORMS + 64)
    stored = sum(BYTES[dtype] * math.prod(shape) for dtype, shape in tensors.values())
    assert found.weight_bytes == pytest.approx(stored, rel=0.02)
    assert found.weight_bytes == found.layer_bytes + 4 * TABLE


def test_fused_experts_of_four_bits(folder):
    """As in gpt-oss: blocks of 32 weights, with a scale each."""
    experts = {
        "mlp.experts.gate_up_proj_blocks": ("U8", [8, 256, 2, 16]),
        "mlp.experts.gate_up_proj_scales": ("U8", [8, 256, 2]),
        "mlp.experts.down_proj_blocks": ("U8", [8, 64, 4, 16]),
        "mlp.experts.down_proj_scales": ("U8", [8, 64, 4]),
    }
    told = {"quantization_config": {"quant_method": "mxfp4"}}
    found = described(folder, MIXTRAL_LIKE | told, llama(mlp=experts))
    assert found.experts.parameters == 16 * MLP
    assert found.experts.loaded_bytes == 2 * (8 * MLP // 2 + 8 * MLP // 32)
    assert found.multiplied_in == "mxfp4"


@pytest.mark.parametrize(
    ("name", "content", "method", "multiplied_in"),
    [
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, "modelopt", "fp8"),
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "gptq", None),
        ("quant_config.json", {"w_bit": 4, "zero_point": True}, "awq", None),
    ],
)
def test_a_quantization_in_a_file_of_its_own(folder, name, content, method, multiplied_in):
    write_config(folder, LLAMA)
    (folder / name).write_text(json.dumps(content))
    found = described(folder, LLAMA, {})
    assert (found.quantization, found.multiplied_in) == (method, multiplied_in)
    # Which of the weights are quantized, the files alone tell.
    assert found.weight_bytes is None


# The files ----------------------------------------------------------------------------------
def sharded(folder):
    """A checkpoint in two files with an index, beside the same weights in another form."""
    write_config(folder, LLAMA)
    tensors = llama()
    shards = {"a.safetensors": list(tensors)[:5], "b.safetensors": list(tensors)[5:]}
    for file, names in shards.items():
        write_header(folder / file, {name: tensors[name] for name in names})
    write_header(folder / "consolidated.safetensors", {"output.weight": ("BF16", [1000, 64])})
    index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_the_index_names_the_files(folder):
    found = models.describe("made-up", sharded(folder), "bfloat16")
    assert found.parameters == PARAMETERS
    assert "consolidated.safetensors" in found.sha256


def test_files_without_an_index_are_one_model(folder):
    (sharded(folder) / "model.safetensors.index.json").unlink()
    (folder / "consolidated.safetensors").unlink()
    assert models.describe("made-up", folder, "bfloat16").parameters == PARAMETERS


def refused(folder, *words):
    with pytest.raises(ParameterError) as caught:
        models.describe("made-up", folder, "bfloat16")
    message = str(caught.value)
    assert message.startswith(f"model = '{folder}': ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_file_of_the_index_that_is_not_there(folder):
    (sharded(folder) / "b.safetensors").unlink()
    refused(folder, "b.safetensors cannot be read: No such file")


@pytest.mark.parametrize("index", ["{}", '{"weight_map": 1}', "[]", "{"])
def test_a_damaged_index(folder, index):
    (sharded(folder) / "model.safetensors.index.json").write_text(index)
    refused(folder, "model.safetensors.index.json cannot be read")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01",
        (2**40).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{]",
        (2).to_bytes(8, "little") + b"[]",
        (12).to_bytes(8, "little") + b'{"a": {"b":1}',
        (19).to_bytes(8, "little") + b'{"a": {"dtype": 1}}',
        (64).to_bytes(8, "little")
        + b'{"a": {"dtype": "F16", "shape": [1], "data_offsets": [null, 2]}}',
    ],
)
def test_a_damaged_header(folder, content):
    write_config(folder, LLAMA)
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "model.safetensors cannot be read: Error while", "Fetch the checkpoint")


def test_a_file_that_was_cut_short(folder):
    file = write_header(write_config(folder, LLAMA) / "model.safetensors", llama())
    size = file.stat().st_size
    with file.open("r+b") as content:
        content.truncate(size - 1)
    refused(folder, "model.safetensors cannot be read", "file not fully covered")


# As transformers writes them ----------------------------------------------------------------
WRITTEN = {
    "llama": {},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "falcon": {},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
                  "shared_expert_intermediate_size": 64},
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "gemma3": {"text_config": LLAMA | {"head_dim": 16, "model_type": "gemma3_text"},
               "vision_config": {"hidden_size": 32, "num_hidden_layers": 1, "image_size": 28,
                                 "num_attention_heads": 2, "intermediate_size": 64,
                                 "patch_size": 14}},
}  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("kind", WRITTEN)
def test_checkpoints_as_transformers_writes_them(folder, kind):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    shape = LLAMA | {"pad_token_id": 0} | WRITTEN[kind]
    config = AutoConfig.for_model(**shape | {"model_type": kind})
    seeing = hasattr(config, "vision_config")
    made = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    model = made.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    decoder = {name: size for name, size in sizes.items()
               if not seeing or "language_model" in name or "lm_head" in name}  # fmt: skip
    found = models.describe("made-up", folder, "bfloat16")
    assert found.parameters == sum(decoder.values())
    assert found.embedding_parameters == model.get_input_embeddings().weight.numel()
    experts = sum(size for name, size in decoder.items() if ".experts." in name)
    assert (found.experts.parameters if found.experts else 0) == experts
