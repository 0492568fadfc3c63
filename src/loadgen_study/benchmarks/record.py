"""What a benchmark is: one frozen record of all that the project knows of its rules."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from loadgen_study.scorers.scorer import Scorer
from vllm_loadgen.sampling import GREEDY, Sampling

# Of mlcommons/inference, whose LoadGen and checker the project follows.
CURRENT_ROUND = "v6.1"


@dataclass(frozen=True)
class DataColumns:
    """The columns of a task's data files: text, or prompts that came as token ids.

    Attributes:
        text: what the instruction is filled with, and the reference.
        tokenized: token ids of the prompt, and the reference; preferred to text. A file needs one
            of these pairs.
        system: the column of a system prompt, which stands before the text; empty: none.
        shown: an optional column with the text of a tokenized prompt, for a reader.
        extra: further columns that the scorer needs.
        official: MLCommons' own data, as an error message names it.
    """

    text: tuple[str, str]
    tokenized: tuple[tuple[str, str], ...] = (("tok_input", "output"),)
    system: str = ""
    shown: str = "input"
    extra: tuple[str, ...] = ()
    official: str = "MLCommons' file"

    def pair(self, names: Collection[str]) -> tuple[str, str]:
        """The columns of prompt and reference; empty names if a file lacks a needed column."""
        pairs, there = (*self.tokenized, self.text), {*names, ""}
        return next((pair for pair in pairs if {*pair, *self.extra} <= there), ("", ""))

    def of_prompts(self) -> Self:
        """The columns of a file whose answers are not scored: it needs no references."""
        tokenized = tuple((ids, "") for ids, _ in self.tokenized)
        return replace(self, text=(self.text[0], ""), tokenized=tokenized, extra=())

    def is_tokenized(self, column: str) -> bool:
        """Whether a column holds token ids."""
        return column in [ids for ids, _ in self.tokenized]

    def needed(self, names: Collection[str]) -> tuple[str, ...]:
        """The columns that each row must fill; empty if the file lacks one."""
        prompt, reference = self.pair(names)
        return tuple(filter(None, (prompt, reference, *self.extra))) if prompt else ()

    def used(self, names: Collection[str]) -> tuple[str, ...]:
        """The columns that are read; empty if the file lacks a needed one."""
        if not (needed := self.needed(names)):
            return ()
        added = self.shown if self.is_tokenized(needed[0]) else self.system
        more = added and added in names and added not in needed
        return (*needed, added) if more else needed


@dataclass(frozen=True)
class Task:
    """The task of a benchmark, and how its answers are judged.

    Attributes:
        data: the columns of its files. embedded: its file of built-in data.
        subject, verb: the object and the verb of a sentence about the task.
        instruction: the prompt, with {input}.
        sampling: how the next token is chosen.
        min_new_tokens, max_new_tokens: the limits on an answer; accuracy_max_new_tokens: the upper
            one of an accuracy test, if it differs.
        scorer: judges the answers.
        built_in: parameters for the built-in data, where the official ones need a larger machine.
    """

    data: DataColumns
    embedded: str
    subject: str
    verb: str
    scorer: Scorer
    instruction: str = "{input}"
    sampling: Sampling = GREEDY
    min_new_tokens: int = 1
    max_new_tokens: int = 128
    accuracy_max_new_tokens: int | None = None
    built_in: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReferenceModel:
    """The model that a benchmark requires.

    Attributes:
        title: for a reader.
        weights_sha256: of each weight file (the hub's LFS pointers); empty: not known here.
        shape: hidden size, layers, vocabulary; the same shape with other weights is a conversion.
    """

    title: str
    shape: tuple[int, int, int]
    weights_sha256: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ReferenceDataset:
    """The data that a benchmark requires.

    Attributes:
        name, title: for a parameter, for a reader.
        hub: name, configuration and split on the hub; None: not there.
        sha256: of MLCommons' own files; empty: not known here.
    """

    name: str
    title: str
    hub: tuple[str, str, str] | None = None
    sha256: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Suite:
    """A benchmark's place in a submission.

    Attributes:
        folder: its name in the tree, shared by benchmarks that are submitted as one.
        system_type: "datacenter" or "edge".
        required: scenarios that a closed submission must have (the checker's names).
        one_of: scenarios of which it needs one more; or empty.
        last_round: the last round that accepted it.
    """

    folder: str
    system_type: str
    required: frozenset[str]
    one_of: frozenset[str] = frozenset()
    last_round: str = CURRENT_ROUND

    @property
    def scenarios(self) -> frozenset[str]:
        """All scenarios that the checker accepts."""
        return self.required | self.one_of

    @property
    def retired(self) -> bool:
        """Whether the current round no longer accepts it."""
        return self.last_round != CURRENT_ROUND


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: LoadGen's.
        scenarios: LoadGen's scenarios that the rules allow, each with its name in a submission.
        samples: of the dataset, and LoadGen's performance sample count.
        score: the full-precision reference's figures on all samples, by metric: the checker's
            accuracy-target before its factor.
        compliance: the required tests (submission_checker, models_TESTxx), each with its
            limits (compliance/TESTxx of mlcommons/inference).
        accuracy_samples: of the accuracy test, if it has its own data; None: ``samples``.
    """

    name: str
    suite: Suite
    scenarios: Mapping[str, str]
    samples: int
    task: Task
    score: Mapping[str, int | float]
    model: ReferenceModel
    dataset: ReferenceDataset
    compliance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    accuracy_samples: int | None = None

    def submitted_as(self, scenario: str) -> str:
        """A LoadGen scenario's name in a submission; its own if the rules do not allow it."""
        return self.scenarios.get(scenario, scenario)


def with_interactive(
    name: str, folder: str, last_round: str = CURRENT_ROUND, **facts: Any
) -> tuple[Benchmark, Benchmark]:
    """A datacenter's benchmark and its interactive variant, a Server test with tighter limits.

    Args:
        folder, last_round: of the suite that both belong to. facts: further fields of both.
    """
    one_of = frozenset({"Server", "Interactive"})
    facts["suite"] = Suite(folder, "datacenter", frozenset({"Offline"}), one_of, last_round)
    scenarios = {"Offline": "Offline", "Server": "Server"}
    return (
        Benchmark(name=name, scenarios=scenarios, **facts),
        Benchmark(name=f"{name}-interactive", scenarios={"Server": "Interactive"}, **facts),
    )
