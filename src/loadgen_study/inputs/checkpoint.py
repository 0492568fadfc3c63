"""How much a checkpoint's decoder weighs: by its files' headers, or by its class without files.

Headers of safetensors files name each tensor with its type, its shape and its place in the file; no
weight is read.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen_study.facts.inputs import DTYPE_BYTES, Experts, Weights
from loadgen_study.inputs.config import Config, Quantization
from vllm_loadgen.checkpoint import CHECKPOINT_CURE, read_json
from vllm_loadgen.errors import ParameterError

if TYPE_CHECKING:
    from huggingface_hub.utils import TensorInfo

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"

# By a tensor's name: towers for pictures and sound, and what predicts further tokens (multi-token
# prediction) are not read for a token of text.
ELSEWHERE = re.compile(
    r"(^|\.)(vision\w*|visual|vit|vpm|audio\w*|apm|\w*projector|connector|aligner|resampler|"
    r"img_processor|image_newline|patch_merger|embed_vision|embed_audio|talker|token2wav|mtp)(\.|$)"
)
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# Masks and tables that some checkpoints keep with their weights; vLLM computes them.
COMPUTED = re.compile(
    r"(rotary_emb\.inv_freq|\.(attn|attention)\.(masked_)?bias|slope_rate|(key|query|diagonal)_decay)$"
)
# The kinds of tensors, in the order in which their patterns are tried.
KINDS = {
    # Routed experts; shared ones are called shared_experts and are read for every token.
    "expert": re.compile(r"(^|\.)(experts|block_sparse_moe\.(input|output)_linear)\."),
    # Of these two a token reads one row.
    "looked up": re.compile(
        r"(^|\.)(wpe|embed_positions|position_embeddings|embed_tokens_per_layer)\."
    ),
    "embedding": re.compile(
        r"(^|\.)(embed_tokens|wte|tok_embeddings|word_embeddings|embed_in|embeddings?)\.weight$"
    ),
    "head": re.compile(r"(^|\.)(lm_head|embed_out|output_layer)\.|^output\."),
}

# What a quantized weight brings along: scales, zero points, orders, tables, shapes.
SCALE = re.compile(
    r"(scales?|scale_inv|scale_2|zeros|zero_point|g_idx|weight_shape|absmax|quant_map|SCB|"
    r"weight_format)$|quant_state\."
)
PACKED = re.compile(r"(qweight|_packed|_blocks)$")
WORD_BITS = {"I64": 64, "I32": 32, "U32": 32, "I16": 16}
FLOATS = {"F64", "F32", "F16", "BF16"}


def weigh(config: Config, dtype: str) -> Weights | None:
    """The weights of a checkpoint that is run in ``dtype``; None if they are not known.

    Counted from the headers of its safetensors files; by transformers' class where there are none.

    Raises:
        ParameterError: if a file is damaged, or config.json lacks what is needed.
    """
    tensors = read_headers(config.folder)
    return from_headers(tensors, config, dtype) if tensors else from_class(config, dtype)


# The files ----------------------------------------------------------------------------------
def read_headers(folder: Path) -> dict[str, "TensorInfo"]:
    """Each tensor of the model's safetensors files by its name; empty if there are none.

    With an index the files that it names (a folder may hold the weights in another form too), as in
    vLLM.

    Raises:
        ParameterError: if a file is damaged, cut short, or named in the index and not there.
    """
    files = sorted(folder.glob("*.safetensors"))
    if files and (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise _damaged(folder / INDEX, "it names no files")
        files = [folder / name for name in sorted({str(name) for name in shards.values()})]
    elif folder / SINGLE in files:
        files = [folder / SINGLE]
    return {name: tensor for file in files for name, tensor in _read_header(file).items()}


def _read_header(file: Path) -> dict[str, "TensorInfo"]:
    from huggingface_hub import parse_local_safetensors_file_metadata
    from safetensors import safe_open

    try:
        with safe_open(file, framework="np"):  # refuses a damaged header and a file cut short
            return parse_local_safetensors_file_metadata(file).tensors
    except Exception as error:  # of several libraries' types
        problem = str(getattr(error, "strerror", None) or error)
        raise _damaged(file, problem.replace(f": {file}", "")) from None


def _damaged(file: Path, problem: str) -> ParameterError:
    problem = f"{file.name} cannot be read: {problem}"
    return ParameterError("model", str(file.parent), problem, CHECKPOINT_CURE)


# Counted from headers -----------------------------------------------------------------------
def from_headers(tensors: Mapping[str, "TensorInfo"], config: Config, dtype: str) -> Weights | None:
    """The weights by their names and shapes.

    A packed weight counts the weights in its words: words times bits of a word over bits of a
    weight, which ``quantization_config`` gives (AWQ, GPTQ, compressed-tensors); in bytes it is
    always two of four bits (bitsandbytes, MXFP4, NVFP4). Scales and zero points have bytes and are
    no parameters.

    Returns:
        None if there are experts and config.json lacks how many a token takes.

    Raises:
        ParameterError: if config.json gives no number of layers.
    """
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    num_layers, size = config.need("num_hidden_layers"), DTYPE_BYTES.get(dtype, 2)
    for name, tensor in tensors.items():
        stored_bytes = tensor.data_offsets[1] - tensor.data_offsets[0]
        stored[tensor.dtype] += stored_bytes
        if kind := _kind(name, num_layers):
            counts[kind] += _parameters(name, tensor, config.quantization)
            run_in_dtype = tensor.dtype in FLOATS
            sizes[kind] += tensor.parameter_count * size if run_in_dtype else stored_bytes
    if not counts["embedding"]:  # called something else: it was taken for a layer
        table = config.need("vocab_size") * config.need("hidden_size")
        for counted, amount in ((counts, table), (sizes, table * size)):
            counted["embedding"] = min(amount, counted["layer"])
            counted["layer"] -= counted["embedding"]
    tied = bool(config.tied) or not counts["head"]
    if tied:  # vLLM passes over a head that is stored although it is tied to the table
        counts["head"] = sizes["head"] = 0
    experts = None
    if counts["expert"]:
        count, per_token = config.number("num_experts"), config.number("num_experts_per_tok")
        if not count or not per_token:
            return None
        experts = Experts(
            count=count,
            per_token=min(count, per_token),
            parameters=counts["expert"],
            loaded_bytes=sizes["expert"],
        )
    return Weights(
        parameters=counts.total(),
        weight_bytes=sizes.total(),
        embedding_parameters=counts["embedding"],
        tied_embeddings=tied,
        layer_parameters=counts["layer"] + counts["expert"],
        layer_bytes=sizes["layer"] + sizes["expert"],
        head_bytes=sizes["embedding"] if tied else sizes["head"],
        experts=experts,
        stored_bytes=dict(stored),
    )


def _kind(name: str, num_layers: int) -> str | None:
    """Which part of the decoder a tensor is of; None if it is of none."""
    layer = LAYER.search(name)
    predicts = layer and int(layer[1]) >= num_layers  # further tokens, as in DeepSeek-V3
    if predicts or ELSEWHERE.search(name) or COMPUTED.search(name):
        return None
    return next((kind for kind, pattern in KINDS.items() if pattern.search(name)), "layer")


def _parameters(name: str, tensor: "TensorInfo", quantization: Quantization | None) -> int:
    if quantization:
        if SCALE.search(name):
            return 0
        if tensor.dtype == "U8":
            return 2 * tensor.parameter_count
        if PACKED.search(name) and tensor.dtype in WORD_BITS:
            return tensor.parameter_count * WORD_BITS[tensor.dtype] // quantization.weight_bits
    return 0 if tensor.dtype in {"U8", "BOOL", *WORD_BITS} else tensor.parameter_count


# Counted from the class ---------------------------------------------------------------------
def from_class(config: Config, dtype: str) -> Weights | None:
    """The weights of the class that transformers builds of config.json, without memory for them.

    Returns:
        None if transformers cannot build it, or if it is quantized: only files show which weights
        are.
    """
    if config.decoder is None or config.quantization:
        return None
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kinds = ((AutoModelForCausalLM, config.decoder),
             (AutoModelForImageTextToText, config.built))  # fmt: skip
    for kind, shape in kinds:
        if tensors := _built(kind, shape):
            found = from_headers(tensors, config, dtype)
            return found and found.model_copy(update={"stored_bytes": {}})
    return None


def _built(kind: Any, shape: Any) -> dict[str, "TensorInfo"]:
    """Each tensor of a model by its name, a tied one once; empty if it cannot be built."""
    import torch
    from huggingface_hub.utils import TensorInfo

    try:
        with torch.device("meta"):
            model = kind.from_config(shape, trust_remote_code=False)
    except Exception:  # a class that transformers does not have, or a shape that it refuses
        return {}
    tensors = reversed(model.state_dict(keep_vars=True).items())
    once = {id(tensor): (name, list(tensor.shape)) for name, tensor in tensors}
    return {
        name: TensorInfo("F32", shape, (0, 4 * math.prod(shape))) for name, shape in once.values()
    }
