"""A dataset's name to tokenized samples with references: the content of the QSL."""

import glob
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from vllm_loadgen import progress
from vllm_loadgen.benchmarks import HUB_DATASETS, ReferenceDataset
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.facts.inputs import (
    TOKENIZED_BY_FILE,
    TOKENIZED_HERE,
    Dataset,
    TokenLengths,
)
from vllm_loadgen.files import sha256
from vllm_loadgen.inputs.prompts import MOST_ID, Prompts
from vllm_loadgen.params import RunParams
from vllm_loadgen.results.folders import NAME_ALONE, existing_file

FILE_TYPES = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
EMBEDDED = "embedded"
# MLCommons' own files: prompts come tokenized, so they are used as they are.
TOKENIZED_COLUMNS = ("tok_input", "output")
TEXT_COLUMNS = ("article", "highlights")
DATASET_CURE = (
    "give 'embedded', 'cnn_dailymail', MLCommons' cnn_eval.json, or a json, jsonl, csv or parquet "
    "file with the columns article and highlights"
)


# What a chat template gets as today's date, so that prompts are the same on every day: the default
# in the chat templates of Llama 3.1 and 3.2.
TEMPLATE_DATE = date(2024, 7, 26)


class FixedClock:
    """Replaces the ``strftime_now`` that transformers gives to chat templates.

    Attributes:
        used: whether a template called it.
    """

    used = False

    def __call__(self, format: str) -> str:
        self.used = True
        return TEMPLATE_DATE.strftime(format)


@dataclass(frozen=True)
class Samples:
    """What LoadGen draws from.

    Attributes:
        prompts: token ids of each sample, by QSL index.
        references: the summary that each answer is scored against.
        articles: the text that was summarized, for a reader's eye.
        facts: dataset.json.
    """

    prompts: Prompts
    references: list[str]
    articles: list[str]
    facts: Dataset

    def __len__(self) -> int:
        return len(self.prompts)


def load_samples(params: RunParams, tokenizer: Any) -> Samples:
    """Load, cut to ``num_samples`` and tokenize the dataset of ``params``.

    Raises:
        ParameterError: if the dataset cannot be read, lacks a column, or holds a prompt that
            leaves no room for an answer within ``max_model_len``.
    """
    rows, source, checksum = _read(params.dataset)
    total = len(rows)
    if params.num_samples > total:
        raise ParameterError(
            "num_samples", params.num_samples, f"the dataset has {total}", "give 0 for all"
        )
    rows = rows.select(range(params.num_samples or total))
    clock = FixedClock()
    tokenized = set(TOKENIZED_COLUMNS) <= set(rows.column_names)
    if tokenized:
        prompts = Prompts.of(rows["tok_input"])
        articles = list(rows["input"]) if "input" in rows.column_names else [""] * len(rows)
        references = list(rows["output"])
    else:
        articles, references = list(rows["article"]), list(rows["highlights"])
        prompts = tokenize(articles, params, tokenizer, clock)
    _check_lengths(prompts, params)
    lengths = prompts.lengths
    facts = Dataset(
        name=params.dataset if params.dataset in (EMBEDDED, *HUB_DATASETS) else source,
        source=source,
        samples=len(prompts),
        total_samples=total,
        checksum=checksum,
        prompts_sha256=prompts.sha256,
        tokenized_by=TOKENIZED_BY_FILE if tokenized else TOKENIZED_HERE,
        instruction=None if tokenized else params.instruction,
        chat_template=not tokenized and params.chat_template,
        template_date=TEMPLATE_DATE.isoformat() if clock.used else None,
        input_tokens=TokenLengths(
            min=int(lengths.min()),
            mean=round(len(prompts.ids) / len(prompts), 1),
            max=int(lengths.max()),
        ),
    )
    return Samples(prompts, references, articles, facts)


def tokenize(articles: list[str], params: RunParams, tokenizer: Any, clock: FixedClock) -> Prompts:
    """Each article in the instruction, as the model's chat turn if asked for, as token ids.

    Raises:
        ParameterError: if the model has no tokenizer, or no chat template and one is asked for.
    """
    if tokenizer is None:
        raise ParameterError(
            "dataset",
            params.dataset,
            "it is text, and the model's folder holds no tokenizer",
            "give a dataset with tok_input, or a model with its tokenizer",
        )
    if params.chat_template and not getattr(tokenizer, "chat_template", None):
        raise ParameterError(
            "chat_template", True, "the model has no chat template", "give chat_template False"
        )
    with progress.bar(len(articles), "Tokenizing", unit="article", delay=2.0) as shown:
        return Prompts.of(_tokenized(articles, params, tokenizer, clock, shown.update))


def _tokenized(
    articles: list[str],
    params: RunParams,
    tokenizer: Any,
    clock: FixedClock,
    told: Callable[[], object],
) -> Iterator[list[int]]:
    """See ``tokenize``; ``told`` is called after each article."""
    for article in articles:
        text = params.instruction.replace("{input}", article)
        if params.chat_template:
            turns = [{"role": "user", "content": text}]
            text = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, strftime_now=clock
            )
        # The template writes the special tokens itself; without it the tokenizer must.
        special = not params.chat_template
        yield tokenizer.encode(text, add_special_tokens=special)
        told()


def _check_lengths(prompts: Prompts, params: RunParams) -> None:
    lengths = prompts.lengths
    longest = int(lengths.argmax())
    needed = int(lengths[longest]) + params.max_new_tokens
    if needed > params.max_model_len:
        raise ParameterError(
            "max_model_len",
            params.max_model_len,
            f"sample {longest} needs {needed} tokens ({lengths[longest]} of prompt and "
            f"max_new_tokens = {params.max_new_tokens})",
            f"give max_model_len {needed} or more, or another dataset",
        )
    if not lengths.all():
        index = int(lengths.argmin())
        raise ParameterError(
            "dataset", params.dataset, f"the prompt of sample {index} is empty", DATASET_CURE
        )


def _read(name: str) -> tuple[Any, str, str]:
    """A dataset's rows (a ``datasets.Dataset``), where they came from, and their checksum."""
    import datasets

    datasets.disable_progress_bars()
    if name in HUB_DATASETS:
        return _read_hub(datasets, HUB_DATASETS[name])
    if name == EMBEDDED:
        path = Path(str(resources.files("vllm_loadgen") / "embedded" / "articles.jsonl"))
        source = "written for this project"
    else:
        found = existing_file(name)
        if found is None:
            cure = f"{DATASET_CURE}; {NAME_ALONE}"
            raise ParameterError("dataset", name, "there is no such file", cure)
        path, source = found, found.name
    ending = path.suffix.lower()
    if ending not in FILE_TYPES:
        problem = f"files of type {ending or 'none'} are not read"
        raise ParameterError("dataset", name, problem, DATASET_CURE)
    try:
        if FILE_TYPES[ending] == "json":
            rows = datasets.Dataset.from_list(_json_rows(path))
        else:
            rows = datasets.load_dataset(
                FILE_TYPES[ending],
                data_files=glob.escape(str(path)),  # a name may hold * or [
                split="train",
                cache_dir=os.environ.get("HF_DATASETS_CACHE"),
            )
    except Exception as error:
        problem = f"it cannot be read as {ending[1:]} ({_root(error)})"
        raise ParameterError("dataset", name, problem, DATASET_CURE) from None
    _check_rows(name, rows)
    return rows, source, f"sha256:{sha256(path)}"


def _json_rows(path: Path) -> list[Any]:
    """The rows of a file that is one list, or has a row in each line.

    Not by ``datasets``: pyarrow's reader, which it uses, ends the process where the first row is
    null (apache/arrow, issue 47409).

    Raises:
        ValueError: if it is no JSON.
    """
    content = path.read_bytes()
    try:
        rows = json.loads(content)
    except ValueError:
        rows = [json.loads(line) for line in content.split(b"\n") if line.strip()]
    return rows if isinstance(rows, list) else [rows]


def _read_hub(datasets: Any, dataset: ReferenceDataset) -> tuple[Any, str, str]:
    name, configuration, split = dataset.hub
    try:
        rows = datasets.load_dataset(name, configuration, split=split)
    except Exception as error:
        problem = f"the hub did not give it ({type(error).__name__})"
        raise ParameterError("dataset", dataset.name, problem, DATASET_CURE) from None
    # There is no one file: datasets' fingerprint changes with the content of the split.
    return rows, " ".join(dataset.hub), f"fingerprint:{rows._fingerprint}"


def _check_rows(name: str, rows: Any) -> None:
    columns = set(rows.column_names)
    if not (set(TOKENIZED_COLUMNS) <= columns or set(TEXT_COLUMNS) <= columns):
        problem = f"it has the columns {', '.join(sorted(columns)) or 'none'}"
        raise ParameterError("dataset", name, problem, DATASET_CURE)
    if len(rows) == 0:
        raise ParameterError("dataset", name, "it has no rows", DATASET_CURE)
    needed = TOKENIZED_COLUMNS if set(TOKENIZED_COLUMNS) <= columns else TEXT_COLUMNS
    for column in needed:
        wanted, fits = ("token ids", _is_ids) if column == "tok_input" else ("text", _is_text)
        for index, value in enumerate(rows[column]):
            if value is None or value == "" or value == []:
                problem = f"row {index} has nothing in the column {column}"
                raise ParameterError("dataset", name, problem, DATASET_CURE)
            if not fits(value):
                problem = f"row {index} has no {wanted} in the column {column}"
                raise ParameterError("dataset", name, problem, DATASET_CURE)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_ids(value: object) -> bool:
    """Whole numbers of 32 bits, from 0 on; whether the model knows them is for ``check_ids``."""
    return isinstance(value, list) and all(
        type(one) is int and 0 <= one <= MOST_ID for one in value
    )


def check_ids(samples: Samples, vocab_size: int, dataset: str) -> None:
    """Refuse prompts of another model.

    Raises:
        ParameterError: if a token id is outside the model's vocabulary.
    """
    for index, prompt in enumerate(samples.prompts):
        if (highest := max(prompt)) >= vocab_size:
            problem = f"sample {index} holds the token id {highest}, the model knows {vocab_size}"
            cure = "give a dataset that was tokenized for this model, or one of text"
            raise ParameterError("dataset", dataset, problem, cure)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
