"""A dataset's name to tokenized samples with references: the content of the QSL."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from loadgen_study import progress
from loadgen_study.accuracy.scores import scorable
from loadgen_study.benchmarks import HUB_DATASETS, ReferenceDataset
from loadgen_study.facts.inputs import TOKENIZED_BY_FILE, TOKENIZED_HERE, Dataset, TokenLengths
from loadgen_study.inputs.chat import TEMPLATE_DATE, FixedClock, render_chat
from loadgen_study.inputs.rows import (
    DATASET_CURE,
    OPTIONAL_COLUMN,
    TEXT_COLUMNS,
    Columns,
    check_rows,
    is_text,
    read_rows,
)
from loadgen_study.params import RunParams
from vllm_loadgen.certificates import reason
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.prompts import Prompts

EMBEDDED = "embedded"


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
    columns, source, checksum = _read(params.dataset)
    total = len(next(iter(columns.values())))
    if params.num_samples > total:
        raise ParameterError(
            "num_samples", params.num_samples, f"the dataset has {total}", "give 0 for all"
        )
    first = slice(params.num_samples or total)
    clock = FixedClock()
    tokenized = "tok_input" in columns
    if tokenized:
        prompts = Prompts.of(columns["tok_input"][first])
        references = columns["output"][first]
        shown = columns.get(OPTIONAL_COLUMN, [""] * total)[first]
        articles = [text if is_text(text) else "" for text in shown]
    else:
        articles, references = (columns[name][first] for name in TEXT_COLUMNS)
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
        unscorable_references=sum(not scorable(reference) for reference in references),
    )
    return Samples(prompts, references, articles, facts)


def tokenize(articles: list[str], params: RunParams, tokenizer: Any, clock: FixedClock) -> Prompts:
    """Each article in the instruction, as the model's chat turn if asked for, as token ids.

    Raises:
        ParameterError: if the model has no tokenizer, or no chat template that holds the prompt
            and one is asked for.
    """
    if tokenizer is None:
        raise ParameterError(
            "dataset",
            params.dataset,
            "it is text, and the model's folder holds no tokenizer",
            "give a dataset with tok_input, or a model with its tokenizer",
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
            text = render_chat(tokenizer, text, clock)
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


def _read(name: str) -> tuple[Columns, str, str]:
    """The used columns of a dataset, where they came from, and their checksum."""
    if name in HUB_DATASETS:
        return _read_hub(HUB_DATASETS[name])
    if name == EMBEDDED:
        path = resources.files("loadgen_study") / "embedded" / "articles.jsonl"
        columns, checksum = read_rows(str(path))
        return columns, "written for this project", checksum
    columns, checksum = read_rows(name)
    return columns, Path(name).name, checksum


def _read_hub(dataset: ReferenceDataset) -> tuple[Columns, str, str]:
    import datasets

    datasets.disable_progress_bars()
    name, configuration, split = dataset.hub
    try:
        rows = datasets.load_dataset(name, configuration, split=split)
    except Exception as error:
        problem = f"the hub did not give it ({reason(error)})"
        raise ParameterError("dataset", dataset.name, problem, DATASET_CURE) from None
    columns = {column: list(rows[column]) for column in TEXT_COLUMNS}
    check_rows(dataset.name, columns)
    # There is no one file: datasets' fingerprint changes with the content of the split.
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
