"""A dataset's name to tokenized samples with references: the content of the QSL."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from loadgen_study import progress
from loadgen_study.benchmarks import HUB_DATASETS
from loadgen_study.benchmarks.record import DataColumns, ReferenceDataset, Task
from loadgen_study.facts.inputs import TOKENIZED_BY_FILE, TOKENIZED_HERE, Dataset, TokenLengths
from loadgen_study.inputs.chat import TEMPLATE_DATE, FixedClock, render_chat
from loadgen_study.inputs.rows import (
    Columns,
    check_rows,
    data_file,
    dataset_cure,
    is_text,
    read_rows,
)
from loadgen_study.params import EMBEDDED, RunParams
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.http.certificates import reason
from vllm_loadgen.prompts import Prompts


@dataclass(frozen=True)
class Samples:
    """What LoadGen draws from.

    Attributes:
        prompts: token ids of each sample, by QSL index.
        targets: what each answer is scored by: "reference" and the task's extra columns.
        texts: the inputs as text, for a reader.
        facts: dataset.json.
    """

    prompts: Prompts
    targets: Columns
    texts: list[str]
    facts: Dataset

    @property
    def references(self) -> list[str]:
        """What each answer is scored against; empty for prompts alone."""
        return self.targets.get("reference", [""] * len(self))

    def __len__(self) -> int:
        return len(self.prompts)


def check_there(name: str, task: Task) -> None:
    """Refuse a dataset that does not exist; of its content nothing is read.

    Raises:
        ParameterError: if it is neither known by its name nor a file.
    """
    if name not in (EMBEDDED, *HUB_DATASETS):
        data_file(name, task.data)


def load_samples(params: RunParams, tokenizer: Any, scored: bool = True) -> Samples:
    """Load, cut to ``num_samples`` and tokenize the dataset of ``params``.

    Args:
        scored: False for prompts alone, whose answers no test scores.

    Raises:
        ParameterError: if the dataset cannot be read, lacks a column, or holds a prompt that
            leaves no room for an answer within ``max_model_len``.
    """
    task = params.rules.task
    data = task.data if scored else task.data.of_prompts()
    columns, source, checksum = _read(params.dataset, task, data)
    total = len(next(iter(columns.values())))
    if params.num_samples > total:
        problem = f"the dataset has {total}"
        raise ParameterError("num_samples", params.num_samples, problem, "give 0 for all")
    first = slice(params.num_samples or total)
    clock = FixedClock()
    prompt, reference = data.pair(columns)
    tokenized = data.is_tokenized(prompt)
    targets: Columns = {"reference": columns[reference][first]} if reference else {}
    targets |= {name: columns[name][first] for name in data.extra}
    if tokenized:
        prompts = Prompts.of(columns[prompt][first])
        texts = _optional(columns, data.shown, total)[first]
    else:
        texts, systems = columns[prompt][first], _optional(columns, data.system, total)[first]
        prompts = tokenize(texts, params, tokenizer, clock, systems)
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
            min=int(lengths.min()), mean=round(float(lengths.mean()), 1), max=int(lengths.max())
        ),
        unscorable_references=sum(
            not task.scorer.scorable(one) for one in targets.get("reference", [])
        ),
    )
    return Samples(prompts, targets, texts, facts)


def _optional(columns: Columns, name: str, total: int) -> list[str]:
    """The texts of a column that a file may lack, and a row may leave empty."""
    return [text if is_text(text) else "" for text in columns.get(name, [""] * total)]


def tokenize(
    texts: list[str], params: RunParams, tokenizer: Any, clock: FixedClock, systems: Sequence[str]
) -> Prompts:
    """Each text in the instruction, as the model's chat turn if requested, as token ids.

    Args:
        systems: a system prompt for each text, or "": a turn of its own in a chat, else a paragraph
            before the text.

    Raises:
        ParameterError: if the model has no tokenizer, or no chat template that holds the prompt
            and one is requested.
    """
    if tokenizer is None:
        problem = "it is text, and the model's folder holds no tokenizer"
        cure = "give a dataset with tok_input, or a model with its tokenizer"
        raise ParameterError("dataset", params.dataset, problem, cure)
    unit = params.rules.task.data.text[0]
    with progress.bar(len(texts), "Tokenizing", unit=unit, delay=2.0) as shown:

        def ids(text: str, system: str) -> list[int]:
            prompt = params.instruction.replace("{input}", text)
            if params.chat_template:
                prompt = render_chat(tokenizer, prompt, clock, system)
            elif system:
                prompt = f"{system}\n\n{prompt}"
            # The template writes the special tokens itself; without it the tokenizer must.
            found: list[int] = tokenizer.encode(prompt, add_special_tokens=not params.chat_template)
            shown.update()
            return found

        return Prompts.of(map(ids, texts, systems))


def _check_lengths(prompts: Prompts, params: RunParams) -> None:
    lengths, answer = prompts.lengths, params.loaded.max_new_tokens
    longest = int(lengths.argmax())
    if (needed := int(lengths[longest]) + answer) > params.max_model_len:
        parts = f"{lengths[longest]} of prompt and max_new_tokens = {answer}"
        problem = f"sample {longest} needs {needed} tokens ({parts})"
        cure = f"give max_model_len {needed} or more, or another dataset"
        raise ParameterError("max_model_len", params.max_model_len, problem, cure)
    if not lengths.all():
        problem = f"the prompt of sample {lengths.argmin()} is empty"
        cure = dataset_cure(params.rules.task.data)
        raise ParameterError("dataset", params.dataset, problem, cure)


def _read(name: str, task: Task, data: DataColumns) -> tuple[Columns, str, str]:
    """The used columns of a dataset, where they came from, and their checksum."""
    if name in HUB_DATASETS:
        return _read_hub(HUB_DATASETS[name], task)
    if name == EMBEDDED:
        path = resources.files("loadgen_study") / "embedded" / task.embedded
        columns, checksum = read_rows(str(path), data)
        return columns, "written for this project", checksum
    columns, checksum = read_rows(name, data)
    return columns, Path(name).name, checksum


def _read_hub(dataset: ReferenceDataset, task: Task) -> tuple[Columns, str, str]:
    import datasets

    datasets.disable_progress_bars()
    assert dataset.hub is not None  # it is one of HUB_DATASETS
    name, configuration, split = dataset.hub
    try:
        rows = datasets.load_dataset(name, configuration, split=split)
    except Exception as error:
        problem = f"download from the Hugging Face Hub failed ({reason(error)})"
        cure = dataset_cure(task.data)
        raise ParameterError("dataset", dataset.name, problem, cure) from None
    columns = {column: list(rows[column]) for column in (*task.data.text, *task.data.extra)}
    check_rows(dataset.name, columns, task.data)
    # Several files: datasets' fingerprint changes with the content of the split.
    return columns, " ".join(dataset.hub), f"fingerprint:{rows._fingerprint}"


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
