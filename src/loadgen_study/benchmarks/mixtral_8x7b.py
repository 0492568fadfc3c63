"""Mixtral-8x7B: questions from OpenOrca, sums from GSM8K and code from MBXP.

Source: mlcommons/inference, language/mixtral-8x7b.
"""

from loadgen_study.benchmarks.record import (
    Benchmark,
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Suite,
    Task,
)
from loadgen_study.scorers.mixed import Mixed

TASK = Task(
    data=DataColumns(
        text=("input", "gt_output"),
        tokenized=(("tok_input", "gt_output"),),
        extra=("dataset", "id"),
        official="MLCommons' 09292024_mixtral_15k_mintoken2_v1 as parquet",
    ),
    embedded="mixed.jsonl",
    subject="question",
    verb="answers",
    min_new_tokens=2,
    max_new_tokens=1024,
    scorer=Mixed(),
    built_in={"max_new_tokens": 96},
)
RECORDS = (
    Benchmark(
        name="mixtral-8x7b",
        suite=Suite(
            folder="mixtral-8x7b",
            system_type="datacenter",
            required=frozenset({"Offline", "Server"}),
            last_round="v6.0",
        ),
        scenarios={"Offline": "Offline", "Server": "Server"},
        samples=15_000,
        task=TASK,
        score={
            "rouge1": 45.5989,
            "rouge2": 23.3526,
            "rougeL": 30.4608,
            "gsm8k": 73.66,
            "mbxp": 60.16,
            "tokens_per_sample": 144.84,
            "gen_num": 15_000,
        },
        model=ReferenceModel(title="Mixtral-8x7B-Instruct-v0.1", shape=(4096, 32, 32000)),
        dataset=ReferenceDataset(name="mixtral_15k", title="OpenOrca, GSM8K and MBXP"),
        compliance={"TEST06": {}},
    ),
)
