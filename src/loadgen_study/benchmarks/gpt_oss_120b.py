"""gpt-oss-120b: sampled answers to questions of science, mathematics and code.

Source: mlcommons/inference, language/gpt-oss-120b.
"""

from loadgen_study.benchmarks.record import (
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Task,
    with_interactive,
)
from loadgen_study.scorers.exact_match import gpt_oss
from vllm_loadgen.sampling import Sampling

TASK = Task(
    data=DataColumns(
        text=("question", "ground_truth"),
        tokenized=(("input_tokens", "ground_truth"), ("tok_input", "ground_truth")),
        shown="text_input",
        extra=("dataset",),
        official="MLCommons' perf_eval_ref.parquet",
    ),
    embedded="sampled.jsonl",
    subject="question",
    verb="answers",
    sampling=Sampling(temperature=1.0, top_p=1.0),
    max_new_tokens=10_240,
    accuracy_max_new_tokens=32_768,
    scorer=gpt_oss(),
    built_in={"max_new_tokens": 24, "accuracy_max_new_tokens": None},
)
RECORDS = with_interactive(
    "gpt-oss-120b",
    folder="gpt-oss-120b",
    samples=6_396,
    accuracy_samples=4_395,
    task=TASK,
    score={"exact_match": 83.13, "gen_num": 4_395},
    model=ReferenceModel(title="gpt-oss-120b", shape=(2880, 36, 201088)),
    dataset=ReferenceDataset(
        name="gpt_oss_120b", title="perf_eval_ref (accuracy: acc_eval_ref of AIME25, GPQA and code)"
    ),
    compliance={
        "TEST07": {"metric": "exact_match", "least": 60.698},
        # The reference's mean of 1278.20 tokens, 10 % less and more.
        "TEST09": {"least_tokens": 1150.38, "most_tokens": 1406.02},
    },
)
