"""``make bench-official``: a run of the official size end to end, on the echo engine.

Of Llama-3.1-8B 13,368 prompts of 760 random tokens, 600 s of Server, all answers scored, compliance
tests, and what the submission checker would say: what the harness itself takes of time and memory
for that. ``--all`` makes a shorter one of each other benchmark, with answers as long as its
reference's on average. The engine answers with the prompt's own tokens after the times of a GPU, so
no figure is of a model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import markdown, say
from rig import peak_bytes
from workload import write_prompts

from loadgen_study import LiveRun, RunParams
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.inputs import models
from loadgen_study.results import folders
from loadgen_study.rules import compliance
from loadgen_study.submission.preflight import preflight
from vllm_loadgen.files import write_json

USUAL, PROMPT_TOKENS = "llama3_1-8b", 760
# Tokens of the reference's mean answer (MLCommons' accuracy and TEST09 targets); of each prompt as
# many here. What the data have besides prompts, and the reference of each answer.
TOKENS = {
    "llama2-70b": 294,
    "llama3_1-405b": 685,
    "deepseek-r1": 3886,
    "gpt-oss-120b": 1278,
    "mixtral-8x7b": 145,
}
EXTRA = {"dataset": "gpqa", "metric": "rouge", "id": "0", "reference": "A"}
AUDITED = 990  # rows of TEST07's data
MIXED = {"dataset": "OpenOrca"}
# As an H200 answers under load.
ANSWERS = {"ttft_ms": 50.0, "tpot_ms": 20.0}
STEPS = ("reading the data", "performance", "accuracy", "compliance", "scoring")


def parameters(options: argparse.Namespace, folder: Path) -> RunParams:
    """The run; LoadGen's own values where the samples are as many as the official ones."""
    official = BENCHMARKS[options.benchmark].samples
    samples = options.samples or official
    vocabulary = len(models.prompt_tokenizer(models.resolve(RunParams().model), "auto"))
    values: dict[str, Any] = {
        "benchmark": options.benchmark, "engine": "echo", "engine_options": ANSWERS,
        "scenario": "Server", "target_qps": options.rate, "compliance": True,
        "min_duration_ms": options.seconds * 1000, "target_latency_percentile": None,
        "min_query_count": None if samples == official else samples,
        "outputs": str(folder), "run_name": "official",
    }  # fmt: skip
    if options.benchmark == USUAL:
        path = folder / "prompts.json"
        write_prompts(path, samples, vocabulary, PROMPT_TOKENS)
    else:
        path = folder / "prompts.parquet"
        tokens = TOKENS[options.benchmark]
        # An engine that samples drops some of a prompt's tokens.
        length = tokens if BENCHMARKS[options.benchmark].task.sampling.greedy else 2 * tokens
        write_data(path, options.benchmark, samples, vocabulary, length)
        # One pass over the samples takes a little longer than the shortest test.
        values |= {"target_qps": samples / (options.seconds * 1.1), "max_new_tokens": tokens,
                   "accuracy_max_new_tokens": tokens, "max_model_len": length + tokens}  # fmt: skip
    if (own := BENCHMARKS[options.benchmark].accuracy_samples) is not None:
        accuracy, audited = folder / "accuracy.parquet", folder / "audited.parquet"
        write_data(accuracy, options.benchmark, options.samples or own, vocabulary, length)
        write_data(audited, options.benchmark, options.samples or AUDITED, vocabulary, length)
        values |= {"accuracy_dataset": str(accuracy), "compliance_dataset": str(audited)}
    return RunParams.from_dict(values | {"dataset": str(path)})


def write_data(path: Path, benchmark: str, count: int, vocabulary: int, length: int) -> None:
    """A dataset in a benchmark's own schema, of random ids; always the same.

    Args:
        length: of each prompt, tokens.
    """
    task = BENCHMARKS[benchmark].task
    ids = np.random.default_rng(0).integers(10, vocabulary, count * length, np.int32)
    offsets = np.arange(0, len(ids) + 1, length, dtype=np.int32)
    prompt, reference = task.data.tokenized[0]
    given = EXTRA | (MIXED if benchmark.startswith("mixtral") else {})
    texts = {name: given[name] for name in task.data.extra} | {reference: given["reference"]}
    columns = {name: pa.array([text] * count) for name, text in texts.items()}
    pq.write_table(pa.table({prompt: pa.ListArray.from_arrays(offsets, ids), **columns}), path)


def measure(params: RunParams) -> dict[str, Any]:
    """The run's own course; what came out, how long each step took, and the memory of both."""
    took_s: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        took_s[name] = round(time.monotonic() - begin, 1)
        say(f"{name}: {took_s[name]} s")

    with step("reading the data"):
        live = LiveRun.start(params)
    with live:
        for mode in ("performance", "accuracy"):
            with step(mode):
                live.once(mode, mode)
        with step("compliance"):
            tests = [test.name for test in compliance.required(params.rules)]
            verdicts = dict(zip(tests, (one.status for one in live.comply()), strict=True))
        worker_bytes = peak_bytes(live.session().pid)
    with step("scoring"):
        scored = len(live.score())
    with step("submission check"):
        refusals = preflight([live.folder], "closed")
    run = live.read()
    test = run.test("performance")
    return {
        "params": params.model_dump(),
        "took_s": took_s,
        "verdict": test.result.verdict,
        "queries": test.result.queries,
        "samples_per_s": test.metrics.samples_per_s,
        "ttft_ms": test.metrics.ttft_ms.p99,
        "schedule_delay_ms": test.metrics.schedule_delay_ms.p99,
        "scored_samples": scored,
        "compliance": verdicts,
        "refusals": [f"{one.check}: {one.message}" for one in refusals],
        "peak_memory_mib": {
            "notebook": peak_bytes(os.getpid()) / 2**20,
            "worker": worker_bytes / 2**20,
        },
    }  # fmt: skip


def figure(value: float | None, digits: int) -> str:
    return "too few queries" if value is None else f"{value:.{digits}f}"


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    memory = found["peak_memory_mib"]
    rows = [
        ("LoadGen's verdict", str(found["verdict"])),
        ("queries", f"{found['queries']:,}"),
        ("queries/s", f"{found['samples_per_s']:.2f}"),
        ("p99 TTFT, ms", figure(found["ttft_ms"], 1)),
        ("p99 delay of the harness, ms", figure(found["schedule_delay_ms"], 2)),
        ("samples scored", f"{found['scored_samples']:,}"),
        *found["compliance"].items(),
        *((f"{name}, s", f"{seconds:,.1f}") for name, seconds in found["took_s"].items()),
        *((f"peak memory, {name}, MiB", f"{mib:,.0f}") for name, mib in memory.items()),
    ]
    refusals = "\n".join(f"- {line}" for line in found["refusals"])
    return f"{markdown(('official size', 'echo engine'), rows)}\n\nThe checker:\n\n{refusals}"


def all_benchmarks(seconds: int, samples: int | None) -> str:
    """A run of each benchmark of ``TOKENS`` in a process of its own, as one Markdown table."""
    rows = []
    for name, tokens in TOKENS.items():
        out = f"outputs/bench-official-{name}.json"
        given = ["--benchmark", name, "--seconds", str(seconds), "--out", out]
        given += ["--samples", str(samples)] if samples else []
        subprocess.run([sys.executable, __file__, *given], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((folders.project_root() / out).read_text(encoding="utf-8"))
        took_s, memory = found["took_s"], found["peak_memory_mib"]
        rows.append((
            name, f"{found['queries']:,}", f"{tokens:,}", found["verdict"],
            *(f"{took_s[step]:,.0f}" for step in STEPS),
            ", ".join(f"{test} {verdict}" for test, verdict in found["compliance"].items()),
            *(f"{memory[process]:,.0f}" for process in ("notebook", "worker")),
        ))  # fmt: skip
    steps = [f"{step}, s" for step in STEPS]
    memory = ("notebook, MiB", "worker, MiB")
    return markdown(("benchmark", "queries", "tokens", "verdict", *steps, "tests", *memory), rows)


def main() -> None:
    """Run, print the figures, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark", default=USUAL, choices=[USUAL, *TOKENS])
    parser.add_argument("--all", action="store_true", help="one run of each other benchmark")
    parser.add_argument("--samples", type=int, help="default: the official number")
    parser.add_argument("--seconds", type=int, default=600, help="shortest performance test")
    parser.add_argument("--rate", type=float, default=150.0, help="queries/s")
    parser.add_argument("--out", default="outputs/bench-official.json", help="where figures go")
    options = parser.parse_args()
    if options.all:
        print(all_benchmarks(options.seconds, options.samples))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(parameters(options, Path(folder)))
    out = folders.project_root() / options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    print(table(json.loads(out.read_text())))


if __name__ == "__main__":
    main()
