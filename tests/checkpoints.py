"""Made-up checkpoints: a config.json, and safetensors files whose headers are whole and small."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from loadgen_study.facts.inputs import Model
from loadgen_study.inputs import models
from loadgen_study.params import RunParams

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
Tensors = dict[str, tuple[str, list[int]]]  # type and shape, by name
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "vocab_size": 1000, "tie_word_embeddings": False,
}  # fmt: skip
TABLE = 1000 * 64
ATTENTION = 64 * (64 + 32 + 32 + 64)
MLP = 3 * 64 * 128
NORMS = 2 * 64
LAYER = ATTENTION + MLP + NORMS
PARAMETERS = 2 * TABLE + 2 * LAYER + 64


def llama(prefix: str = "model.", mlp: Tensors | None = None, head: bool = True) -> Tensors:
    """The tensors of ``LLAMA`` in bfloat16; ``mlp`` in place of its layers' MLPs."""
    attention = {"q": [64, 64], "k": [32, 64], "v": [32, 64], "o": [64, 64]}
    dense = {"gate": [128, 64], "up": [128, 64], "down": [64, 128]}
    tensors: Tensors = {f"{prefix}embed_tokens.weight": ("BF16", [1000, 64]),
                        f"{prefix}norm.weight": ("BF16", [64])}  # fmt: skip
    mlp = mlp or {f"mlp.{name}_proj.weight": ("BF16", shape) for name, shape in dense.items()}
    for layer in (f"{prefix}layers.{i}." for i in range(2)):
        for name, shape in attention.items():
            tensors[f"{layer}self_attn.{name}_proj.weight"] = ("BF16", shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}{name}.weight"] = ("BF16", [64])
        tensors |= {layer + name: tensor for name, tensor in mlp.items()}
    return tensors | ({"lm_head.weight": ("BF16", [1000, 64])} if head else {})


def write_header(file: Path, tensors: Tensors) -> Path:
    """A safetensors file; its weights are zeros."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as content:
        content.write(len(text).to_bytes(8, "little") + text)
        content.truncate(8 + len(text) + end)
    return file


def runnable(folder: Path) -> Path:
    """A checkpoint for vLLM: the embedded one's tokenizer, and two small layers of random weights.

    A token takes a hundredth of the embedded model's time; what it says has no meaning.
    """
    whole = models.resolve(RunParams().model)
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((whole / "config.json").read_text())
    write_config(folder, {**config, **LLAMA, "vocab_size": config["vocab_size"], "head_dim": 32,
                          "num_attention_heads": 2, "num_key_value_heads": 1})  # fmt: skip
    random, tensors = np.random.default_rng(0), {}
    for name, (_, shape) in llama().items():
        rows = {1000: config["vocab_size"]}.get(shape[0], shape[0])
        tensors[name] = random.normal(0.0, 0.02, (rows, *shape[1:])).astype("float32")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_config(folder: Path, config: dict[str, object]) -> Path:
    """A folder with a config.json alone."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def described(
    folder: Path, config: dict[str, object], tensors: Tensors, dtype: str = "bfloat16"
) -> Model:
    """The facts about a checkpoint of one file with these tensors; of none without any."""
    write_config(folder, config)
    if tensors:
        write_header(folder / "model.safetensors", tensors)
    return models.describe("made-up", folder, dtype)
