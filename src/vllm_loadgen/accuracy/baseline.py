"""What a reference engine (transformers, float32, greedy) scores on a model and its data."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from vllm_loadgen import files, progress
from vllm_loadgen.accuracy.scores import Decode, score_tokens, totals
from vllm_loadgen.benchmarks import ROUGE_NAMES
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.facts.inputs import Dataset, Model
from vllm_loadgen.facts.scores import Baseline, BaselineKey

EMBEDDED = Path(str(resources.files("vllm_loadgen") / "embedded" / "baseline.json"))
PACKAGES = ("transformers", "torch", "tokenizers", "rouge_score", "nltk", "evaluate")


def baseline_key(
    model: Model, dataset: Dataset, max_new_tokens: int, min_new_tokens: int
) -> BaselineKey:
    """What a baseline must have been made with to be compared with a run."""
    return BaselineKey(
        weights_sha256=model.weights_sha256,
        dataset_checksum=dataset.checksum,
        samples=dataset.samples,
        instruction=dataset.instruction,
        chat_template=dataset.chat_template,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
    )


def load_baseline(key: BaselineKey, path: Path = EMBEDDED) -> Baseline | None:
    """The stored baseline with exactly this key, or None.

    Raises:
        BenchmarkError: if the file exists and is not a list of baselines.
    """
    return next((entry for entry in _read(path) if entry.key == key), None)


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Add a baseline to the file, in place of one with the same key."""
    others = [entry for entry in _read(path) if entry.key != baseline.key]
    text = to_json([*others, baseline], indent=2, inf_nan_mode="null").decode()
    files.write_text(path, _lists_in_a_line(text) + "\n")


def _lists_in_a_line(text: str) -> str:
    """JSON with its lists of numbers a line each, for a reader and for git."""
    return re.sub(r"\[[\d.,\s]+\]", lambda found: " ".join(found[0].split()), text)


def _read(path: Path) -> list[Baseline]:
    if not path.exists():
        return []
    try:
        return TypeAdapter(list[Baseline]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        cure = "Restore it, or delete it and make them anew."
        raise BenchmarkError(f"{path} holds no baselines. {cure}") from None


def make_baseline(
    model_path: Path,
    prompts: Sequence[Sequence[int]],
    references: Sequence[str],
    decode: Decode,
    key: BaselineKey,
    eos_token_ids: Sequence[int],
    batch_size: int = 8,
) -> Baseline:
    """Answer every prompt with transformers in float32, greedily, and score the answers.

    A CPU needs about 5 minutes for the embedded job.

    Args:
        prompts: token ids by sample. references: by sample.
        key: of ``baseline_key``; its limits on the answers apply.
        batch_size: prompts at once; they are padded on the left, which float32 does not feel.
    """
    begin = datetime.now(UTC)
    limits = key.max_new_tokens, key.min_new_tokens
    answers = generate(model_path, prompts, *limits, eos_token_ids, batch_size)
    seconds = (datetime.now(UTC) - begin).total_seconds()
    scored = score_tokens(answers, references, decode)
    return Baseline(
        key=key,
        score=totals(scored),
        samples={name: scored[name].round(6).tolist() for name in ROUGE_NAMES},
        provenance={
            "engine": "transformers",
            "dtype": "float32",
            "sampling": "greedy",
            "batch_size": batch_size,
            "made_at": begin.isoformat(timespec="seconds"),
            "generation_s": round(seconds, 1),
            "packages": {name: metadata.version(name) for name in PACKAGES},
        },
    )


def generate(
    model_path: Path,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    min_new_tokens: int,
    eos_token_ids: Sequence[int],
    batch_size: int,
) -> list[list[int]]:
    """Answers as token ids, by prompt, each up to and with its end-of-text id if it has one."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    if torch.cuda.is_available():
        model = model.cuda()
    # In place of the checkpoint's own, which may sample.
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        eos_token_id=list(eos_token_ids) or None,
        pad_token_id=eos_token_ids[0] if eos_token_ids else 0,
    )
    # Prompts of like length share a batch: little padding.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    answers: list[list[int]] = [[] for _ in prompts]
    with progress.bar(len(prompts), "Reference engine", unit="prompt") as shown:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids, mask = _padded([prompts[index] for index in chosen])
            with torch.inference_mode():
                out = model.generate(
                    input_ids=torch.tensor(ids, device=model.device),
                    attention_mask=torch.tensor(mask, device=model.device),
                )
            for index, row in zip(chosen, out[:, len(ids[0]) :].tolist(), strict=True):
                answers[index] = _until_end(row, set(eos_token_ids))
            shown.update(len(chosen))
    return answers


def _padded(prompts: list[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts padded on the left to one length, and which tokens are real (1) or padding (0)."""
    longest = max(map(len, prompts))
    ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return ids, mask


def _until_end(tokens: list[int], ends: set[int]) -> list[int]:
    """The tokens up to and with the first end of text: what follows is padding."""
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[: place + 1]
    return tokens
