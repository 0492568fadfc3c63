"""Llama-3.1-405B: long documents, to summarize, to search and to answer from.

Source: mlcommons/inference, language/llama3.1-405b.
"""

from loadgen_study.benchmarks.record import (
    Benchmark,
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Suite,
    Task,
)
from loadgen_study.scorers.long_context import LongContext

SUITE = Suite(
    folder="llama3.1-405b",
    system_type="datacenter",
    required=frozenset({"Offline"}),
    one_of=frozenset({"Server", "Interactive"}),
    last_round="v6.0",
)
MODEL = ReferenceModel(title="Llama-3.1-405B-Instruct", shape=(16384, 126, 128256))
LONG = ReferenceDataset(
    name="llama3_1_405b", title="LongBench, LongDataCollections, RULER and GovReport"
)
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
SCORE = {
    "rougeL": 21.6666,
    "exact_match": 90.1335,
    "tokens_per_sample": 684.68,
    "gen_num": 8_313,
}
RECORDS = tuple(
    Benchmark(
        name=name,
        suite=SUITE,
        scenarios=scenarios,
        samples=8_313,
        task=TASK,
        score=SCORE,
        model=MODEL,
        dataset=LONG,
        compliance={"TEST06": {}},
    )
    for name, scenarios in (
        ("llama3_1-405b", {"Offline": "Offline", "Server": "Server"}),
        ("llama3_1-405b-interactive", {"Server": "Interactive"}),
    )
)
