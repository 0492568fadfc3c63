"""Llama-3.1-8B: summaries of news articles.

Source: mlcommons/inference, language/llama3.1-8b.
"""

from dataclasses import replace

from loadgen_study.benchmarks.record import (
    Benchmark,
    DataColumns,
    ReferenceDataset,
    ReferenceModel,
    Suite,
    Task,
    with_interactive,
)
from loadgen_study.scorers.rouge import Rouge

LLAMA_3_1_8B = ReferenceModel(
    title="Llama-3.1-8B-Instruct",
    weights_sha256=frozenset(
        {
            "2b1879f356aed350030bb40eb45ad362c89d9891096f79a3ab323d3ba5607668",
            "09d433f650646834a83c580877bd60c6d1f88f7755305c12576b5c7058f9af15",
            "fc1cdddd6bfa91128d6e94ee73d0ce62bfcdb7af29e978ddcab30c66ae9ea7fa",
            "92ecfe1a2414458b4821ac8c13cf8cb70aed66b5eea8dc5ad9eeb4ff309d6d7b",
        }
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
SUMMARIES = Task(
    data=DataColumns(
        text=("article", "highlights"), official="'cnn_dailymail', MLCommons' cnn_eval.json"
    ),
    embedded="articles.jsonl",
    subject="news article",
    verb="summarizes",
    instruction="Summarize the following news article in 128 tokens. Please output the summary "
    "only, without any other text.\n\nArticle:\n{input}\n\nSummary:",
    scorer=Rouge(),
)

RECORDS = (
    *with_interactive(
        "llama3_1-8b",
        folder="llama3.1-8b",
        samples=13_368,
        task=SUMMARIES,
        score={
            "rouge1": 38.7792,
            "rouge2": 15.9075,
            "rougeL": 24.4957,
            "rougeLsum": 35.793,
            "gen_len": 8_167_644,
            "gen_num": 13_368,
        },
        model=LLAMA_3_1_8B,
        dataset=CNN_DAILYMAIL,
        compliance={"TEST06": {}},
    ),
    Benchmark(
        name="llama3_1-8b-edge",
        suite=Suite(
            folder="llama3.1-8b-edge",
            system_type="edge",
            required=frozenset({"SingleStream", "Offline"}),
        ),
        scenarios={"SingleStream": "SingleStream", "Offline": "Offline"},
        samples=5_000,
        task=SUMMARIES,
        score={
            "rouge1": 39.06,
            "rouge2": 16.1147,
            "rougeL": 24.6375,
            "rougeLsum": 36.124,
            "gen_len": 3_051_113,
            "gen_num": 5_000,
        },
        model=LLAMA_3_1_8B,
        # sample_cnn_eval_5000.json
        dataset=replace(CNN_DAILYMAIL, sha256=frozenset({CNN_EVAL_5000_SHA256})),
    ),
)
