"""``make bench``: ratios of the harness to what it stands beside, in one table and as JSON.

No figure here is a promise: each ratio is of two measurements made side by side on this machine,
alternating, and the median of several. Nothing asserts them.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from vllm_loadgen.files import write_json
from vllm_loadgen.inputs.environment import environment
from vllm_loadgen.inputs.models import resolve, resolve_dtype
from vllm_loadgen.params import RunParams, read_yaml
from vllm_loadgen.results import folders
from vllm_loadgen.runs.live import recorded

HERE = Path(__file__).parent
# Rates that the ceiling is looked for among, queries/s, and for how long each.
RATES = (
    1000, 2000, 5000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 70_000, 100_000,
    150_000, 200_000, 300_000, 500_000,
)  # fmt: skip
RATE_S = 2.0
P99_MS = 1.0
# At this rate, and for so long, that the records reach the disk several times.
NOTED_RATE, NOTED_S = 10_000, 10
GROWTH = (1_000, 10_000, 100_000, 1_000_000)


def part(script: str, *arguments: str) -> dict[str, Any]:
    """One measurement in a process of its own; the last object that it prints."""
    command = [sys.executable, str(HERE / script), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
    try:
        out, errors = process.communicate()
    finally:
        # Its session holds what vLLM started: an interrupt leaves nothing behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise SystemExit(f"{script} {arguments[0]} failed:\n{errors[-3000:]}")
    # vLLM may have a word to say as it ends.
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def ceiling(repeats: int) -> dict[str, Any]:
    """The highest rate with p99 added latency under ``P99_MS``, with and without our SUT."""
    found: dict[str, list[float]] = {"Server": [], "empty": []}
    for _ in range(repeats):
        for kind, rates in found.items():
            rates.append(highest(kind))
    best = {kind: statistics.median(rates) for kind, rates in found.items()}
    growth = [
        {"scenario": kind} | part("ceiling.py", kind, str(queries), "20000")
        for kind in ("Server", "Offline")
        for queries in GROWTH
    ]
    return {
        "server_queries_per_s": best["Server"],
        "empty_callback_queries_per_s": best["empty"],
        "ratio": best["Server"] / best["empty"],
        "journal": journal(repeats),
        "by_queries": growth,
    }


def journal(repeats: int) -> dict[str, float]:
    """What it costs that the records reach the disk while a test runs: medians, with and without.

    Returns:
        rate, queries/s; cpu_us (of a query) and p99_ms (latency), and those without.
    """
    arguments = str(NOTED_RATE * NOTED_S), str(NOTED_RATE)
    found: dict[str, list[dict[str, float]]] = {"journal": [], "Server": []}
    for _ in range(repeats):
        for kind, measured in found.items():
            measured.append(part("ceiling.py", kind, *arguments))
            say(f"{kind} at {NOTED_RATE:,} queries/s: {measured[-1]}")
    costs = {"rate": float(NOTED_RATE)}
    for name in ("cpu_us", "p99_ms"):
        costs[name] = statistics.median(one[name] for one in found["journal"])
        costs[f"{name}_without"] = statistics.median(one[name] for one in found["Server"])
    return costs


def highest(kind: str) -> float:
    """The last of ``RATES`` before the first that is too fast."""
    best = 0.0
    for rate in RATES:
        found = part("ceiling.py", kind, str(int(rate * RATE_S)), str(rate))
        say(f"{kind} at {rate:,} queries/s: p99 {found['p99_ms']:.3f} ms")
        if found["p99_ms"] >= P99_MS:
            break
        best = rate
    return best


def against_engine(params: RunParams, prompts: int, repeats: int) -> dict[str, Any]:
    """Offline against LLM.generate, Server against an open loop, and against one in flight."""

    def engine(name: str, changed: RunParams, runs: int) -> dict[str, Any]:
        task = {"params": changed.model_dump(), "prompts": prompts, "runs": runs}
        found = part("engine.py", name, json.dumps(task))
        say(f"{name}: {found}")
        return found

    offline: dict[str, list[float]] = {}
    generate: list[float] = []
    for _ in range(repeats):
        for key, values in engine("offline", params, 2).items():
            offline.setdefault(key, []).extend(values)
        generate += engine("generate", params, 2)["tokens_per_s"]
    ours = {key: statistics.median(values) for key, values in offline.items()}
    rate = round(0.7 * ours["samples_per_s"], 3)
    at_rate = params.changed(
        scenario="Server", target_qps=rate, min_query_count=2 * prompts, min_duration_ms=1
    )
    server = engine("server", at_rate, repeats + 1)
    means = {kind: pd.DataFrame(rows).median().to_dict() for kind, rows in server.items()}
    own = statistics.median(generate)
    return {
        "offline": ours | {
            "generate_tokens_per_s": own,
            "by_run": {"ours": offline["tokens_per_s"], "generate": generate},
            "ratio": ours["tokens_per_s"] / own,
            "longest_first_ratio": ours["longest_first_tokens_per_s"] / ours["tokens_per_s"],
        },
        "server": {"rate": rate, **means},
        "serial": engine("serial", params, repeats),
    }  # fmt: skip


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Lines of the table: what, ours, what it is compared with, ratio, and which is better."""
    if engine := found.get("engine"):
        offline, server, serial = engine["offline"], engine["server"], engine["serial"]
        ours, client = server["loadgen"], server["open_loop"]
        yield ("Offline, tokens/s, against LLM.generate", f"{offline['tokens_per_s']:,.1f}",
               f"{offline['generate_tokens_per_s']:,.1f}", f"{offline['ratio']:.3f}",
               "higher; 1 is as fast as the engine alone")  # fmt: skip
        yield ("Offline, tokens/s, long prompts first against as issued",
               f"{offline['longest_first_tokens_per_s']:,.1f}", f"{offline['tokens_per_s']:,.1f}",
               f"{offline['longest_first_ratio']:.3f}", "higher")  # fmt: skip
        for name in ("ttft_ms", "tpot_ms"):
            yield (f"Server at {server['rate']:g} queries/s, mean {name[:4].upper()}, ms, against "
                   "an open-loop client", f"{ours[name]:,.1f}", f"{client[name]:,.1f}",
                   f"{ours[name] / client[name]:.3f}", "lower; 1 is no cost")  # fmt: skip
        yield ("Capacity, queries/s, against one query in flight",
               f"{serial['samples_per_s']:,.2f}", f"{serial['serial_samples_per_s']:,.2f}",
               f"{serial['samples_per_s'] / serial['serial_samples_per_s']:.2f}",
               "higher")  # fmt: skip
        yield (f"Mean TTFT, ms, at {serial['rate']:.3g} queries/s, against one query in flight",
               f"{serial['ttft_ms']:,.0f}", f"{serial['serial_ttft_ms']:,.0f}",
               f"{serial['ttft_ms'] / serial['serial_ttft_ms']:.4f}", "lower")  # fmt: skip
    if harness := found.get("harness"):
        yield ("Server queries/s with p99 under 1 ms, echo engine, against an empty callback",
               f"{harness['server_queries_per_s']:,.0f}",
               f"{harness['empty_callback_queries_per_s']:,.0f}",
               f"{harness['ratio']:.2f}", "higher; 1 is no SUT at all")  # fmt: skip
        noted = harness["journal"]
        for name, what in (("cpu_us", "CPU us a query"), ("p99_ms", "p99 latency, ms")):
            ours, without = noted[name], noted[f"{name}_without"]
            yield (f"Server at {noted['rate']:,.0f} queries/s, {what}, records on disk meanwhile, "
                   "against not", f"{ours:.3g}", f"{without:.3g}", f"{ours / without:.2f}",
                   "lower; 1 is no cost")  # fmt: skip


def growth(found: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Lines of the table of what a query costs as there are more of them."""
    for row in found.get("harness", {}).get("by_queries", []):
        yield (f"{row['scenario']}, {row['queries']:,} queries", f"{row['samples_per_s']:,.0f}",
               f"{row['cpu_us']:.1f}", f"{row['bytes']:,.0f}")  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """All figures as Markdown tables."""
    heads = ("measurement", "ours", "compared with", "ratio", "better if")
    tables = [markdown(heads, rows(found))]
    if "harness" in found:
        per_query = ("echo engine", "queries/s", "CPU us a query", "bytes a query")
        tables.append(markdown(per_query, growth(found)))
    return "\n\n".join(tables)


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """One Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", default="params/cpu.yaml", help="a file of parameters")
    parser.add_argument("--prompts", type=int, default=32, help="prompts of a test")
    parser.add_argument("--repeats", type=int, default=3, help="times that pairs alternate")
    parser.add_argument("--only", choices=("engine", "harness"), help="half of it")
    parser.add_argument("--out", default="outputs/bench.json", help="where the figures go")
    options = parser.parse_args()
    params = RunParams.from_dict(read_yaml(folders.find_file(options.params)))
    params = params.changed(dtype=resolve_dtype(params.dtype, resolve(params.model)))
    found: dict[str, Any] = {
        "date": date.today().isoformat(),
        "environment": environment(params.tensor_parallel_size),
        "params": recorded(params).model_dump(),
    }
    if options.only != "harness":
        found["engine"] = against_engine(params, options.prompts, options.repeats)
    if options.only != "engine":
        found["harness"] = ceiling(options.repeats)
    out = folders.project_root() / options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    print(table(found))


if __name__ == "__main__":
    main()
