"""``make bench-gpu``: everything that a GPU has to answer, in one call.

The shape of Llama-3.1-8B with random weights (``load_format: dummy``) in bf16 and fp8: the ratios
of ``bench.py``, and a report each of Offline, Server and Interactive at the official lengths. All
of it is timing; nothing here says anything of the answers. ``--shape tiny --seconds 5`` tries the
whole course on a CPU.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import bench
from workload import OFFICIAL_SAMPLES, SHAPES, write_prompts, write_shape

from loadgen_study.params import RunParams
from loadgen_study.report import make as report
from loadgen_study.results import folders
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_json
from vllm_loadgen.gpus import gpu_count

SCENARIOS = {
    "offline": ("llama3_1-8b", "Offline"),
    "server": ("llama3_1-8b", "Server"),
    "interactive": ("llama3_1-8b-interactive", "Server"),
}
NOTEBOOKS = ("setup", "perf")  # random weights have no accuracy


def parameters(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What all runs have in common, as a notebook takes it."""
    shape = write_shape(options.shape, folder / options.shape)
    vocabulary = SHAPES[options.shape]["vocab_size"]
    prompts = write_prompts(folder / "prompts.json", options.samples, vocabulary)
    return {
        "model": str(shape), "dataset": str(prompts), "load_format": "dummy",
        "chat_template": False, "max_model_len": 2668, "gpu_memory_utilization": 0.45,
        "min_duration_ms": options.seconds * 1000,
        # LoadGen's own counts ask for the official number of prompts.
        "min_query_count": None if options.samples == OFFICIAL_SAMPLES else options.samples,
        "target_latency_percentile": None, "enforce_eager": options.shape == "tiny",
        "outputs": str(folder),
    }  # fmt: skip


def main() -> None:
    """Measure in each type of weights; a run that fails does not end the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), default="llama3.1-8b")
    parser.add_argument("--samples", type=int, default=OFFICIAL_SAMPLES, help="prompts made")
    parser.add_argument("--seconds", type=int, default=120, help="shortest test")
    parser.add_argument("--bench-prompts", type=int, default=2000)
    parser.add_argument("--types", nargs="*", default=["bf16", "fp8"])
    parser.add_argument("--out", default="outputs/gpu", help="folder of runs and figures")
    options = parser.parse_args()
    if options.shape != "tiny" and not gpu_count():
        raise SystemExit("bench-gpu needs a GPU: NVML finds none. On a CPU: BENCH='--shape tiny'")
    folder = folders.project_root() / options.out
    given = parameters(options, folder)
    for name in options.types:
        quantized = {"quantization": "fp8", "kv_cache_dtype": "fp8"} if name == "fp8" else {}
        try:
            measure(name, given | quantized, options, folder)
        except BenchmarkError as error:
            print(f"{name}: {error}", file=sys.stderr)


def measure(name: str, given: dict[str, Any], options: argparse.Namespace, folder: Path) -> None:
    """The ratios, then a report of each scenario at the rates that they suggest."""
    params = RunParams.from_dict(given)
    figures = bench.against_engine(params, options.bench_prompts, 1)
    write_json(folder / f"bench-{name}.json", figures)
    print(bench.table({"engine": figures}))
    capacity = figures["offline"]["samples_per_s"]
    rates = {"offline": capacity, "server": 0.7 * capacity, "interactive": 0.3 * capacity}
    for scenario, (benchmark, kind) in SCENARIOS.items():
        values = given | {
            "benchmark": benchmark, "scenario": kind, "target_qps": round(rates[scenario], 3),
            "gpu_memory_utilization": 0.9, "run_name": f"{name}-{scenario}",
        }  # fmt: skip
        print(report.make_report(RunParams.from_dict(values), values, NOTEBOOKS))


if __name__ == "__main__":
    main()
