"""DeepSeek-R1: questions of science, mathematics and code, answered at length.

Source: mlcommons/inference, language/deepseek-r1.
"""

from loadgen_study.benchmarks.record import (
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Task,
    with_interactive,
)
from loadgen_study.scorers.exact_match import deepseek_r1

TASK = Task(
    data=DataColumns(
        text=("question", "ground_truth"),
        tokenized=(("tok_input", "ground_truth"), ("input_tokens", "ground_truth")),
        shown="text_input",
        extra=("dataset",),
        official="MLCommons' mlperf_deepseek_r1_dataset_4388_fp8_eval as parquet",
    ),
    embedded="reasoning.jsonl",
    subject="question",
    verb="answers",
    max_new_tokens=20_000,
    scorer=deepseek_r1(),
    built_in={"max_new_tokens": 48},
)
RECORDS = with_interactive(
    "deepseek-r1",
    folder="deepseek-r1",
    samples=4_388,
    task=TASK,
    score={"exact_match": 81.3582, "tokens_per_sample": 3886.2274, "gen_num": 4_388},
    model=ReferenceModel(title="DeepSeek-R1", shape=(7168, 61, 129280)),
    dataset=ReferenceDataset(
        name="deepseek_r1", title="GPQA, MMLU-Pro, MATH-500, AIME and LiveCodeBench"
    ),
    compliance={"TEST06": {}},
)
