"""``make bench-official``: a run of the official size end to end, on the echo engine.

13,368 prompts of 760 random tokens, 600 s of Server, all answers scored, TEST06, and what the
submission checker would say: what the harness itself takes of time and memory for that. The engine
answers with the prompt's own tokens after the times of a GPU, so no figure is of a model.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import markdown, say
from rig import peak_bytes
from workload import OFFICIAL_SAMPLES, write_prompts

from loadgen_study import LiveRun, RunParams
from loadgen_study.inputs import models
from loadgen_study.results import folders
from loadgen_study.submission.preflight import preflight
from vllm_loadgen.files import write_json

PROMPT_TOKENS = 760
# As an H200 answers under load.
ANSWERS = {"ttft_ms": 50.0, "tpot_ms": 20.0}


def parameters(options: argparse.Namespace, folder: Path) -> RunParams:
    """The run; LoadGen's own values where the samples are as many as the official ones."""
    vocabulary = len(models.prompt_tokenizer(models.resolve(RunParams().model), "auto"))
    prompts = folder / "prompts.json"
    write_prompts(prompts, options.samples, vocabulary, PROMPT_TOKENS)
    return RunParams.from_dict(
        {
            "dataset": str(prompts), "engine": "echo", "engine_options": ANSWERS,
            "scenario": "Server", "target_qps": options.rate, "compliance": True,
            "min_duration_ms": options.seconds * 1000, "target_latency_percentile": None,
            "min_query_count": None if options.samples == OFFICIAL_SAMPLES else options.samples,
            "outputs": str(folder), "run_name": "official",
        }
    )  # fmt: skip


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
        for mode in ("performance", "accuracy", "compliance"):
            with step(mode):
                live.once(mode, mode)
        worker_bytes = peak_bytes(live.session().pid)
    with step("scoring"):
        live.score()
    with step("TEST06"):
        verdict = live.verify()
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
        "scored_samples": len(live.samples),
        "test06": verdict.status,
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
        ("TEST06", found["test06"]),
        *((f"{name}, s", f"{seconds:,.1f}") for name, seconds in found["took_s"].items()),
        *((f"peak memory, {name}, MiB", f"{mib:,.0f}") for name, mib in memory.items()),
    ]
    refusals = "\n".join(f"- {line}" for line in found["refusals"])
    return f"{markdown(('official size', 'echo engine'), rows)}\n\nThe checker:\n\n{refusals}"


def main() -> None:
    """Run, print the figures, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=OFFICIAL_SAMPLES)
    parser.add_argument("--seconds", type=int, default=600, help="shortest performance test")
    parser.add_argument("--rate", type=float, default=150.0, help="queries/s")
    parser.add_argument("--out", default="outputs/bench-official.json", help="where figures go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(parameters(options, Path(folder)))
    out = folders.project_root() / options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    print(table(json.loads(out.read_text())))


if __name__ == "__main__":
    main()
