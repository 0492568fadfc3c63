"""Answers and scores of a reference engine: transformers in float32.

One JSON file holds the scores of all baselines; a parquet file next to it, named by its SHA-256,
the answers of each.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from loadgen_study import progress
from loadgen_study.facts.inputs import Dataset, Model
from loadgen_study.facts.scores import Baseline, BaselineKey
from loadgen_study.facts.tables import read_frame, write_frame
from loadgen_study.scorers.scorer import TOKENS, Scorer
from vllm_loadgen import files
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.base import describe
from vllm_loadgen.sampling import GREEDY, Sampling

EMBEDDED = Path(str(resources.files("loadgen_study") / "embedded" / "baseline.json"))
CURE = "Restore it, or make the baseline again (vllm-loadgen baseline)."
LOGPROB_DIGITS = 4
BATCH_SIZE = 8


@dataclass(frozen=True)
class Answers:
    """What the reference engine answered, by sample.

    Attributes:
        tokens: ids. logprobs: natural logarithms, a token each; NaN where the token was not the
            engine's own first choice.
    """

    tokens: list[list[int]]
    logprobs: list[list[float]]


def baseline_key(model: Model, dataset: Dataset, params: TestParams) -> BaselineKey:
    """The conditions that a baseline must share with a run.

    The seed is not among them: sampled answers are a random draw anyway.

    Args:
        dataset, params: of the accuracy test.
    """
    return BaselineKey(
        weights_sha256=model.weights_sha256,
        dataset_checksum=dataset.checksum,
        samples=dataset.samples,
        prompts_sha256=dataset.prompts_sha256,
        instruction=dataset.instruction,
        chat_template=dataset.chat_template,
        max_new_tokens=params.max_new_tokens,
        min_new_tokens=params.min_new_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
    )


def load_baseline(key: BaselineKey, scorer: Scorer, path: Path = EMBEDDED) -> Baseline | None:
    """The stored baseline with this key, or None.

    Raises:
        BenchmarkError: if the file exists and is not a list of baselines, is of a later version,
            or if this one's scores are not the scorer's of all its samples.
    """
    found = next((entry for entry in _read(path) if entry.key == key), None)
    if found is None or not found.samples:
        return found
    for metric in scorer.by_sample:
        count = len(found.samples.get(metric.name, []))
        if count != key.samples:
            problem = f"{count} {metric.name} scores of {key.samples} samples: it was cut short"
            raise BenchmarkError(f"{path} holds a baseline with {problem}. {CURE}")
    return found


def nearest(key: BaselineKey, path: Path = EMBEDDED) -> str:
    """Fields in which the most similar baseline of the same weights differs; empty if none is."""
    names = [name for name in BaselineKey.model_fields if name != "weights_sha256"]
    known = [entry.key for entry in _read(path) if entry.key.weights_sha256 == key.weights_sha256]
    differ = [[name for name in names if getattr(k, name) != getattr(key, name)] for k in known]
    return ", ".join(sorted(differ, key=len)[0]).replace("_sha256", "") if differ else ""


def samples_covered(key: BaselineKey, path: Path = EMBEDDED) -> int | None:
    """Samples of the stored baseline that differs in nothing but their number, or None."""
    same = {"samples": key.samples, "prompts_sha256": key.prompts_sha256}
    known = [entry.key for entry in _read(path)]
    return next((k.samples for k in known if k.model_copy(update=same) == key), None)


def load_answers(baseline: Baseline, path: Path = EMBEDDED) -> Answers | None:
    """The reference engine's answers; None of a baseline that was made without.

    Args:
        path: of the file that the baseline is in.

    Raises:
        BenchmarkError: if their file is missing, is not the one that was made with the baseline, or
            is of other data.
    """
    if not baseline.answers_sha256:
        return None
    file = _answers_path(path, baseline.answers_sha256)
    if not file.is_file():
        raise BenchmarkError(f"{file} is missing, with the answers of a baseline. {CURE}")
    if files.sha256(file) != baseline.answers_sha256:
        problem = "is not the file that its baseline was made with: cut short, or changed"
        raise BenchmarkError(f"{file} {problem}. {CURE}")
    frame = read_frame(file)
    # Python's own numbers: vLLM sends no numpy ones to its engine.
    lists = ([row.tolist() for row in frame[name]] for name in ("tokens", "logprobs"))
    answers = Answers(*lists)
    held, expected = len(answers.tokens), baseline.key.samples
    tokens, counted = sum(map(len, answers.tokens)), baseline.score.get(TOKENS.name, 0)
    if (held, tokens) != (expected, counted):
        problem = f"{held} answers of {tokens} tokens, and its baseline {expected} of {counted}"
        raise BenchmarkError(f"{file} holds {problem}: it is of other data. {CURE}")
    return answers


def save_baseline(baseline: Baseline, answers: Answers, path: Path) -> None:
    """Add a baseline to the file, in place of one with the same key, and its answers next to it."""
    known = _read(path)
    others = [entry for entry in known if entry.key != baseline.key]
    baseline = baseline.model_copy(update={"answers_sha256": _save_answers(answers, path)})
    text = to_json([*others, baseline], indent=2, inf_nan_mode="null").decode()
    # A list of numbers is one line, for a reader and for git.
    text = re.sub(r"\[[\d.,\s]+\]", lambda found: " ".join(found[0].split()), text)
    files.write_text(path, text + "\n")
    kept = {entry.answers_sha256 for entry in [*others, baseline]}
    for sha in {entry.answers_sha256 for entry in known} - kept:
        _answers_path(path, sha).unlink(missing_ok=True)


def _save_answers(answers: Answers, path: Path) -> str:
    """Write them as a table, a row a sample; returns its SHA-256."""
    logprobs = [np.round(row, LOGPROB_DIGITS).astype(np.float32) for row in answers.logprobs]
    tokens = [np.array(row, np.int32) for row in answers.tokens]
    made = path.with_name(f"{path.stem}-new.parquet")
    write_frame(made, pd.DataFrame({"tokens": tokens, "logprobs": logprobs}))
    sha = files.sha256(made)
    made.replace(_answers_path(path, sha))
    return sha


def _answers_path(path: Path, sha256: str) -> Path:
    return path.with_name(f"{path.stem}-{sha256[:12]}.parquet")


def _read(path: Path) -> list[Baseline]:
    if not path.exists():
        return []
    try:
        return TypeAdapter(list[Baseline]).validate_json(path.read_bytes())
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    except ValidationError as error:
        problem = f"{path} holds no baselines that this version reads ({describe(error)})"
    raise BenchmarkError(f"{problem}. Restore it, or delete it and make them again.")


def generate(
    model_path: Path,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    min_new_tokens: int,
    eos_token_ids: Sequence[int],
    batch_size: int,
    trust_remote_code: bool = False,
    sampling: Sampling = GREEDY,
) -> Answers:
    """Answers by prompt, each up to and with its end-of-text id if it has one.

    A CPU needs about 5 minutes for the embedded job.

    Args:
        batch_size: prompts at once; padding on the left leaves results in float32 as they are.

    Raises:
        BenchmarkError: if transformers cannot load the model.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import GenerationConfig

    model = _load(model_path, trust_remote_code)
    if torch.cuda.is_available():
        model = model.cuda()
    # In place of the checkpoint's own, which may sample.
    model.generation_config = GenerationConfig(
        **_choice(sampling),
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        eos_token_id=list(eos_token_ids) or None,
        pad_token_id=eos_token_ids[0] if eos_token_ids else 0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    # Prompts of like length share a batch: little padding.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    answers = Answers([[] for _ in prompts], [[] for _ in prompts])
    with progress.bar(len(prompts), "Reference engine", unit="prompt") as shown:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = [torch.tensor(prompts[index], device=model.device) for index in chosen]
            ones = [torch.ones_like(row) for row in batch]
            ids, mask = (pad_sequence(rows, True, padding_side="left") for rows in (batch, ones))
            with torch.inference_mode():
                out = model.generate(input_ids=ids, attention_mask=mask)
            tokens = out.sequences[:, ids.shape[1] :]
            # Of the logits before anything was forbidden. NaN where another token was likelier: it
            # was forbidden (the end of text before ``min_new_tokens``).
            own = model.compute_transition_scores(out.sequences, out.logits, normalize_logits=True)
            likeliest = torch.stack([step.argmax(-1) for step in out.logits], 1)
            logprobs = own.where(tokens == likeliest, math.nan).tolist()
            for index, row, scored in zip(chosen, tokens.tolist(), logprobs, strict=True):
                ends = (place for place, token in enumerate(row, 1) if token in eos_token_ids)
                length = next(ends, len(row))  # what follows an end of text is padding
                answers.tokens[index] = row[:length]
                answers.logprobs[index] = scored[:length]
            shown.update(len(chosen))
    return answers


def _choice(sampling: Sampling) -> dict[str, Any]:
    """The sampling fields of a ``GenerationConfig``; seeds PyTorch for sampled tokens."""
    import torch

    if sampling.greedy:
        return {"do_sample": False}
    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)
    own = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return {"do_sample": True, **own}


def _load(path: Path, trust_remote_code: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # of any type: the model's own code may run
        problem = " ".join(str(error).split())[:300] or type(error).__name__
        cure = "Give trust_remote_code True, or another model"
        cure = cure if "trust_remote_code" in str(error) else "Give another model"
        raise BenchmarkError(f"transformers cannot load the model: {problem}. {cure}.") from None
    return model.eval()
