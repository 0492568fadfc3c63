"""What each MLPerf benchmark is, one record each: all that the project knows of its rules.

A new benchmark is a new record in ``BENCHMARKS``; nothing else names one. Sources:
mlcommons/inference v6.1, ``inference_rules.adoc``, ``mlperf.conf`` (inside LoadGen, which the tests
hold against ``samples``) and ``tools/submission/submission_checker/constants.py``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from loadgen_study.scorers.rouge import Rouge
from loadgen_study.scorers.scorer import Scorer


@dataclass(frozen=True)
class DataColumns:
    """The columns of a task's data files: text, or prompts that came as token ids.

    Attributes:
        text: what the instruction is filled with, and the reference.
        tokenized: the prompt's token ids, and the reference; they win over text.
        shown: the text that such a prompt was made from, for a reader, where it is there.
        extra: what else the scorer needs, in both kinds of files.
    """

    text: tuple[str, str]
    tokenized: tuple[str, str] = ("tok_input", "output")
    shown: str = "input"
    extra: tuple[str, ...] = ()

    def used(self, names: Collection[str]) -> tuple[str, ...]:
        """Which of a file's columns are used; empty if it lacks one."""
        if {*self.tokenized, *self.extra} <= set(names):
            shown = (self.shown,) if self.shown in names else ()
            return *self.tokenized, *self.extra, *shown
        wanted = (*self.text, *self.extra)
        return wanted if set(wanted) <= set(names) else ()


@dataclass(frozen=True)
class Task:
    """What a benchmark asks, and how its answers are judged.

    Attributes:
        data: the columns of its files. embedded: its file of built-in data.
        subject, verb: what a model does with what, for a reader.
        instruction: the prompt, with {input}.
        sampling: how the next token is chosen.
        min_new_tokens, max_new_tokens: the limits on an answer.
        scorer: what judges the answers.
    """

    data: DataColumns
    embedded: str
    subject: str
    verb: str
    instruction: str
    scorer: Scorer
    sampling: str = "greedy"
    min_new_tokens: int = 1
    max_new_tokens: int = 128


@dataclass(frozen=True)
class ReferenceModel:
    """The model that a benchmark requires.

    Attributes:
        title: for a reader.
        weights_sha256: of each weight file (the hub's LFS pointers).
        shape: hidden size, layers, vocabulary; the same shape with other weights is a conversion.
    """

    title: str
    weights_sha256: frozenset[str]
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class ReferenceDataset:
    """The data that a benchmark requires.

    Attributes:
        name, title: for a parameter, for a reader.
        hub: where the hub has them: name, configuration, split.
        sha256: of MLCommons' own files.
    """

    name: str
    title: str
    hub: tuple[str, str, str]
    sha256: frozenset[str]


@dataclass(frozen=True)
class Suite:
    """A benchmark's place in a submission.

    Attributes:
        folder: its name in the tree, shared by benchmarks that are submitted as one.
        system_type: "datacenter" or "edge".
        required: scenarios that a closed submission must have (the checker's names).
        one_of: of these it must have one more; empty if not.
    """

    folder: str
    system_type: str
    required: frozenset[str]
    one_of: frozenset[str] = frozenset()

    @property
    def scenarios(self) -> frozenset[str]:
        """All that the checker knows of this suite."""
        return self.required | self.one_of


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: LoadGen's.
        scenarios: LoadGen's scenarios that the rules allow, by what a submission calls them.
        samples: of the dataset, and LoadGen's performance sample count.
        score: what the full-precision reference scores on all samples, by metric; the checker's
            accuracy-target before its factor.
        test06: whether compliance test TEST06 is required (submission_checker, models_TEST06).
        published: column of the published results by LoadGen's scenario; empty where none is known.
    """

    name: str
    suite: Suite
    scenarios: Mapping[str, str]
    samples: int
    task: Task
    score: Mapping[str, int | float]
    model: ReferenceModel
    dataset: ReferenceDataset
    test06: bool
    published: Mapping[str, str] = field(default_factory=dict)

    def submitted_as(self, scenario: str) -> str:
        """What a submission calls LoadGen's scenario; one that the rules do not allow stays."""
        return self.scenarios.get(scenario, scenario)


LLAMA_3_1_8B = ReferenceModel(
    title="Llama-3.1-8B-Instruct",
    weights_sha256=frozenset(
        (
            "2b1879f356aed350030bb40eb45ad362c89d9891096f79a3ab323d3ba5607668",
            "09d433f650646834a83c580877bd60c6d1f88f7755305c12576b5c7058f9af15",
            "fc1cdddd6bfa91128d6e94ee73d0ce62bfcdb7af29e978ddcab30c66ae9ea7fa",
            "92ecfe1a2414458b4821ac8c13cf8cb70aed66b5eea8dc5ad9eeb4ff309d6d7b",
        )
    ),
    shape=(4096, 32, 128256),
)
# MLCommons publishes an MD5 with each file and no SHA-256. These are what Intel's Verification
# Test Suite (its MLPerf test) holds downloads against. Its SHA-256 of the MD5 file with
# cnn_eval.json, 1df6da22..., is that of "c41c613c17794d117899fdcdeeadbe3c  cnn_eval.json", the MD5
# that others give. No download of our own was at hand to check them by.
CNN_EVAL_SHA256 = "6d066a21bd615909466885d53b664b73c5aabc32d60c1cbd03f4293de6430026"
CNN_EVAL_5000_SHA256 = "2d1a21eadd8ef7547d2f5fba939a9e1886a22ee926fe3781cb8934d3a01445db"
CNN_DAILYMAIL = ReferenceDataset(
    name="cnn_dailymail",
    title="CNN/DailyMail 3.0.0 validation",
    hub=("abisee/cnn_dailymail", "3.0.0", "validation"),
    sha256=frozenset({CNN_EVAL_SHA256}),  # cnn_eval.json
)
CNN_DAILYMAIL_5000 = replace(
    CNN_DAILYMAIL,
    sha256=frozenset({CNN_EVAL_5000_SHA256}),  # sample_cnn_eval_5000.json
)
DATACENTER = Suite(
    folder="llama3.1-8b",
    system_type="datacenter",
    required=frozenset({"Offline"}),
    one_of=frozenset({"Server", "Interactive"}),
)
EDGE = Suite(
    folder="llama3.1-8b-edge",
    system_type="edge",
    required=frozenset({"SingleStream", "Offline"}),
)
# mlcommons/inference, language/llama3.1-8b.
SUMMARIES = Task(
    data=DataColumns(text=("article", "highlights")),
    embedded="articles.jsonl",
    subject="news article",
    verb="summarizes",
    instruction="Summarize the following news article in 128 tokens. Please output the summary "
    "only, without any other text.\n\nArticle:\n{input}\n\nSummary:",
    scorer=Rouge(),
)
DATACENTER_SCORE = {
    "rouge1": 38.7792,
    "rouge2": 15.9075,
    "rougeL": 24.4957,
    "rougeLsum": 35.793,
    "gen_len": 8_167_644,
    "gen_num": 13_368,
}
EDGE_SCORE = {
    "rouge1": 39.06,
    "rouge2": 16.1147,
    "rougeL": 24.6375,
    "rougeLsum": 36.124,
    "gen_len": 3_051_113,
    "gen_num": 5_000,
}

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="llama3_1-8b",
            suite=DATACENTER,
            scenarios={"Offline": "Offline", "Server": "Server"},
            samples=13_368,
            task=SUMMARIES,
            score=DATACENTER_SCORE,
            model=LLAMA_3_1_8B,
            dataset=CNN_DAILYMAIL,
            test06=True,
            published={"Offline": "offline", "Server": "server"},
        ),
        Benchmark(
            name="llama3_1-8b-interactive",
            suite=DATACENTER,
            scenarios={"Server": "Interactive"},
            samples=13_368,
            task=SUMMARIES,
            score=DATACENTER_SCORE,
            model=LLAMA_3_1_8B,
            dataset=CNN_DAILYMAIL,
            test06=True,
            published={"Server": "interactive"},
        ),
        Benchmark(
            name="llama3_1-8b-edge",
            suite=EDGE,
            scenarios={"SingleStream": "SingleStream", "Offline": "Offline"},
            samples=5_000,
            task=SUMMARIES,
            score=EDGE_SCORE,
            model=LLAMA_3_1_8B,
            dataset=CNN_DAILYMAIL_5000,
            test06=False,
        ),
    )
}
HUB_DATASETS = {found.dataset.name: found.dataset for found in BENCHMARKS.values()}
