"""What the benchmarks run: the embedded model and articles, or a model's shape with random weights.

Random weights (vLLM's ``load_format: dummy``) have the speed of the real ones and none of their
sense, so they serve for timing only; so do prompts of random ids with the official lengths.
"""

import json
from pathlib import Path

import numpy as np

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.inputs import data, models
from loadgen_study.params import RunParams

# meta-llama/Llama-3.1-8B-Instruct's public config.json, without its weights and tokenizer.
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "torch_dtype": "bfloat16",
}
# The same kind of model, small enough to try the GPU benchmark on a CPU.
TINY = LLAMA_8B | {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 512, "vocab_size": 4096, "bos_token_id": 0, "eos_token_id": [1, 2, 3],
}  # fmt: skip
SHAPES = {"llama3.1-8b": LLAMA_8B, "tiny": TINY}
# Lengths of the official prompts: 778 tokens on average (issue 4), spread as articles are.
MEAN_TOKENS, SPREAD, SHORTEST, LONGEST = 778, 0.5, 64, 2540
OFFICIAL_SAMPLES = BENCHMARKS["llama3_1-8b"].samples


def workload(params: RunParams, count: int) -> tuple[str, list[list[int]]]:
    """Folder of the model, and the token ids of ``count`` prompts (fewer if the data has fewer)."""
    path = models.resolve(params.model)
    tokenizer = models.prompt_tokenizer(path, params.load_format)
    return str(path), list(map(list, data.load_samples(params, tokenizer).prompts[:count]))


def write_shape(name: str, folder: Path) -> Path:
    """A model folder that holds a shape and no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPES[name], indent=2))
    return folder


def write_prompts(path: Path, count: int, vocabulary: int, tokens: int | None = None) -> Path:
    """A dataset in the schema of MLCommons' cnn_eval.json, of random ids; always the same.

    Args:
        tokens: of each prompt; None for lengths like the official ones.
    """
    generator = np.random.default_rng(0)
    # A lognormal's mean is exp(mu + sigma^2 / 2).
    location = np.log(MEAN_TOKENS) - SPREAD**2 / 2
    lengths = generator.lognormal(location, SPREAD, count).astype(int).clip(SHORTEST, LONGEST)
    if tokens is not None:
        lengths[:] = tokens
    rows = [
        {
            "input": "",
            "tok_input": generator.integers(10, vocabulary, length).tolist(),
            "output": "No summary: the prompt is random.",
        }
        for length in lengths
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
