"""Llama-2-70B: questions with system prompts, from OpenOrca.

Source: mlcommons/inference, language/llama2-70b.
"""

from loadgen_study.benchmarks.record import (
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Task,
    with_interactive,
)
from loadgen_study.scorers.rouge import LENGTH, Rouge
from loadgen_study.scorers.scorer import ANSWERS, STRICT, TOKENS, TOKENS_PER_SAMPLE, unjudged

TASK = Task(
    data=DataColumns(
        text=("question", "output"),
        system="system_prompt",
        shown="question",
        official="MLCommons' open_orca_gpt4_tokenized_llama.sampled_24576 as parquet",
    ),
    embedded="orca.jsonl",
    subject="question",
    verb="answers",
    max_new_tokens=1024,
    scorer=Rouge(
        ("rouge1", "rouge2", "rougeL"),
        (TOKENS_PER_SAMPLE, unjudged(LENGTH), ANSWERS, TOKENS),
        level=STRICT,
    ),
    built_in={"max_new_tokens": 96},
)
RECORDS = with_interactive(
    "llama2-70b",
    folder="llama2-70b-99.9",
    samples=24_576,
    task=TASK,
    score={
        "rouge1": 44.4312,
        "rouge2": 22.0352,
        "rougeL": 28.6162,
        "tokens_per_sample": 294.45,
        "gen_num": 24_576,
    },
    model=ReferenceModel(title="Llama-2-70b-chat-hf", shape=(8192, 80, 32000)),
    dataset=ReferenceDataset(name="open_orca", title="OpenOrca, GPT-4's answers"),
    compliance={"TEST06": {}},
)
