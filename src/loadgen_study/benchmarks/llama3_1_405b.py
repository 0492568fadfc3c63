"""Llama-3.1-405B: long documents, to summarize, to search and to answer from.

Source: mlcommons/inference, language/llama3.1-405b.
"""

from loadgen_study.benchmarks.record import (
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Task,
    with_interactive,
)
from loadgen_study.scorers.long_context import LongContext

TASK = Task(
    data=DataColumns(
        text=("input", "gt_output"),
        tokenized=(("tok_input", "gt_output"),),
        extra=("metric",),
        official="MLCommons' mlperf_llama3.1_405b_dataset_8313 as parquet",
    ),
    embedded="long.jsonl",
    subject="document",
    verb="answers from",
    # The reference's SUT_VLLM.py; the rules' appendix has 2 to 20,000.
    max_new_tokens=2000,
    scorer=LongContext(),
    built_in={"max_new_tokens": 64},
)
RECORDS = with_interactive(
    "llama3_1-405b",
    folder="llama3.1-405b",
    last_round="v6.0",
    samples=8_313,
    task=TASK,
    score={
        "rougeL": 21.6666,
        "exact_match": 90.1335,
        "tokens_per_sample": 684.68,
        "gen_num": 8_313,
    },
    model=ReferenceModel(title="Llama-3.1-405B-Instruct", shape=(16384, 126, 128256)),
    dataset=ReferenceDataset(
        name="llama3_1_405b", title="LongBench, LongDataCollections, RULER and GovReport"
    ),
    compliance={"TEST06": {}},
)
