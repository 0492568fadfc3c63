"""``make bench``: ratios of the harness to what it stands beside, in one table and as JSON.

No figure here is a promise: each ratio is of measurements made in pairs on this machine, both of a
pair warm, and has its 95 % interval over the pairs. Nothing asserts them.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from loadgen_study.analysis.intervals import TWO_SIDED_95, student_t
from loadgen_study.inputs.environment import environment
from loadgen_study.inputs.models import resolve, resolve_dtype
from loadgen_study.params import RunParams, read_yaml
from loadgen_study.results import folders
from loadgen_study.runs.study import recorded
from loadgen_study.words import count
from vllm_loadgen.files import write_json

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
# Parts of engine.py that leave out something of ours, and the fact that says whether it is there.
WITHOUT = {"unloaded": "preloads", "untold": "tells_steps"}
# What the fastest published node answers, queries/s of 128 tokens, and for how long.
NODE_RATE, NODE_S = 1300, 20


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
        "node": node(repeats),
        "curves": live_curves(repeats),
        "by_queries": growth,
    }


def journal(repeats: int) -> dict[str, float]:
    """What it costs that the records reach the disk while a test runs: medians, with and without.

    Returns:
        rate, queries/s; cpu_us (of a query) and p99_ms (latency), and those without.
    """
    found = medians("ceiling.py", ("journal", "Server"), NOTED_RATE, NOTED_S, repeats)
    costs = {"rate": float(NOTED_RATE)}
    for name in ("cpu_us", "p99_ms"):
        costs |= {name: found["journal"][name], f"{name}_without": found["Server"][name]}
    return costs


def node(repeats: int) -> dict[str, float]:
    """The harness on an engine that steps like a node of GPUs (``stepping.py``): medians.

    Returns:
        rate, queries/s; cpu_us of a query and cpu_us_alone (of the engine without LoadGen and SUT);
        delay_p99_ms and delivered.
    """
    found = medians("stepping.py", ("loadgen", "alone"), NODE_RATE, NODE_S, repeats)
    own = {name: found["loadgen"][name] for name in ("cpu_us", "delay_p99_ms", "delivered")}
    return {"rate": float(NODE_RATE), **own, "cpu_us_alone": found["alone"]["cpu_us"]}


def live_curves(repeats: int) -> dict[str, dict[str, float]]:
    """What a notebook's growing curves cost (``curves.py``): medians with them and without."""
    return medians("curves.py", ("curves", "none"), NODE_RATE, NODE_S, repeats)


def medians(
    script: str, kinds: Sequence[str], rate: int, seconds: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Each kind's figures at one rate, measured in turn, in an order that changes."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for repeat in range(repeats):
        for kind in kinds[:: 1 if repeat % 2 == 0 else -1]:
            found[kind].append(part(script, kind, str(rate * seconds), str(rate)))
            say(f"{script} {kind} at {rate:,} queries/s: {found[kind][-1]}")
    return {
        kind: {name: statistics.median(one[name] for one in measured) for name in measured[0]}
        for kind, measured in found.items()
    }


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


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | None]:
    """The mean ratio over pairs with its 95 % interval, by their logarithms; None with one pair."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    found: dict[str, float | None] = {"ratio": math.exp(statistics.mean(logs)), "low": None}
    found["high"] = None
    if len(logs) > 1:
        half = student_t(TWO_SIDED_95, len(logs) - 1) * statistics.stdev(logs) / len(logs) ** 0.5
        found |= {"low": found["ratio"] / math.exp(half), "high": found["ratio"] * math.exp(half)}
    return found


def against_engine(params: RunParams, prompts: int, repeats: int) -> dict[str, Any]:
    """Offline against LLM.generate, Server against an open loop, and against one in flight.

    Those of the first kind are processes of their own, whose order changes from time to time; of
    the others two tests of one engine.
    """

    def engine(name: str, changed: RunParams, runs: int) -> dict[str, Any]:
        task = {"params": changed.model_dump(), "prompts": prompts, "runs": runs}
        found = part("engine.py", name, json.dumps(task))
        say(f"{name}: {found}")
        return found

    parts = in_turn(lambda name: engine(name, params, 2), repeats)

    def runs(name: str, key: str) -> list[float]:
        return [value for process in parts[name] for value in process[key]]

    def by_process(name: str) -> list[float]:
        return [statistics.mean(process["tokens_per_s"]) for process in parts[name]]

    keys = ("tokens_per_s", "longest_first_tokens_per_s", "samples_per_s")
    ours = {key: statistics.median(runs("offline", key)) for key in keys}
    rate = round(0.7 * ours["samples_per_s"], 3)
    at_rate = params.changed(
        scenario="Server", target_qps=rate, min_query_count=2 * prompts, min_duration_ms=1
    )
    server = {kind: pd.DataFrame(rows) for kind, rows in engine("server", at_rate, repeats).items()}
    serial = engine("serial", params, repeats)
    own = runs("generate", "tokens_per_s")
    without = [name for name in WITHOUT if name in parts]
    pairs = {
        "generate": ratio(by_process("offline"), by_process("generate")),
        **{name: ratio(by_process("offline"), by_process(name)) for name in without},
        "longest_first": ratio(runs("offline", keys[1]), runs("offline", keys[0])),
        **{name: ratio(server["loadgen"][name].tolist(), server["open_loop"][name].tolist())
           for name in ("ttft_ms", "tpot_ms")},
        **{f"serial_{name}": ratio(serial[name], serial[f"serial_{name}"])
           for name in ("samples_per_s", "ttft_ms")},
    }  # fmt: skip
    medians = {name: statistics.median(serial[name]) for name in serial if name != "rate"}
    return {
        "offline": ours | {
            "generate_tokens_per_s": statistics.median(own),
            "without": {name: statistics.median(runs(name, "tokens_per_s")) for name in without},
            "by_run": {name: runs(name, "tokens_per_s") for name in parts},
            "warm": {name: [each["warm"] for each in parts[name]] for name in parts},
        },
        "server": {"rate": rate}
        | {kind: rows.median().to_dict() for kind, rows in server.items()},
        "serial": {"rate": serial["rate"], **medians},
        "ratios": pairs,
    }  # fmt: skip


def in_turn(
    engine: Callable[[str], dict[str, Any]], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Offline, its own ``LLM.generate`` and what can be left out here, one after another, in an
    order that changes from time to time."""
    parts = {"offline": [engine("offline")], "generate": []}
    parts |= {name: [] for name, there in WITHOUT.items() if parts["offline"][0][there]}
    for repeat in range(repeats):
        for name in list(parts)[:: 1 if repeat % 2 == 0 else -1]:
            if len(parts[name]) == repeat:
                parts[name].append(engine(name))
    return parts


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Lines of the table: what, ours, compared with, ratio with its interval, which is better."""
    if engine := found.get("engine"):
        offline, server, serial = engine["offline"], engine["server"], engine["serial"]
        ours, client, ratios = server["loadgen"], server["open_loop"], engine["ratios"]
        cold = sum(not warm for each in offline["warm"].values() for warm in each)
        note = f" ({count(cold, 'part')} not warm)" if cold else ""
        yield (f"Offline, tokens/s, against LLM.generate{note}", f"{offline['tokens_per_s']:,.1f}",
               f"{offline['generate_tokens_per_s']:,.1f}", said(ratios["generate"]),
               "higher; 1 is as fast as the engine alone")  # fmt: skip
        for name, what in (("unloaded", "libraries preloaded"), ("untold", "each step told")):
            if name in ratios:
                yield (f"Offline, tokens/s, {what} against not", f"{offline['tokens_per_s']:,.1f}",
                       f"{offline['without'][name]:,.1f}", said(ratios[name]),
                       "higher" if name == "unloaded" else "higher; 1 is no cost")  # fmt: skip
        yield ("Offline, tokens/s, long prompts first against as issued",
               f"{offline['longest_first_tokens_per_s']:,.1f}", f"{offline['tokens_per_s']:,.1f}",
               said(ratios["longest_first"]), "higher")  # fmt: skip
        for name in ("ttft_ms", "tpot_ms"):
            yield (f"Server at {server['rate']:g} queries/s, mean {name[:4].upper()}, ms, against "
                   "an open loop", f"{ours[name]:,.1f}", f"{client[name]:,.1f}",
                   said(ratios[name]), "lower; 1 is no cost")  # fmt: skip
        yield ("Capacity, queries/s, against one in flight", f"{serial['samples_per_s']:,.2f}",
               f"{serial['serial_samples_per_s']:,.2f}",
               said(ratios["serial_samples_per_s"]), "higher")  # fmt: skip
        yield (f"Mean TTFT, ms, at {serial['rate']:.3g} queries/s, against one in flight",
               f"{serial['ttft_ms']:,.0f}", f"{serial['serial_ttft_ms']:,.0f}",
               said(ratios["serial_ttft_ms"]), "lower")  # fmt: skip
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
        yield from node_rows(harness["node"])
        yield from curves_rows(harness["curves"])


def node_rows(of_node: dict[str, float]) -> Iterator[tuple[str, str, str, str, str]]:
    """Lines of the table on an engine that steps like a node of GPUs."""
    at = f"Server at {of_node['rate']:,.0f} queries/s, an engine that steps"
    ours, alone = of_node["cpu_us"], of_node["cpu_us_alone"]
    yield (f"{at}: CPU us a query, against the engine alone", f"{ours:.1f}", f"{alone:.1f}",
           f"{ours / alone:.2f}", "lower; 1 is no cost")  # fmt: skip
    yield (f"{at}: p99 delay of the schedule, ms", f"{of_node['delay_p99_ms']:.3f}", "", "",
           "lower")  # fmt: skip
    yield (f"{at}: rate delivered over the schedule's", f"{of_node['delivered']:.5f}", "", "",
           "1 is on time")  # fmt: skip


def curves_rows(found: dict[str, dict[str, float]]) -> Iterator[tuple[str, str, str, str, str]]:
    """Lines of the table on the curves that grow in a notebook."""
    with_them, without = found["curves"], found["none"]
    at = f"Server at {NODE_RATE:,} queries/s, echo engine"
    for name, what in (("delay_p99_ms", "p99 delay of the schedule, ms"),
                       ("kernel_share", "the notebook's share of a core")):  # fmt: skip
        ours, other = with_them[name], without[name]
        yield (f"{at}: {what}, curves growing against none", f"{ours:.3f}", f"{other:.3f}",
               f"{ours / other:.2f}", "lower; 1 is no cost")  # fmt: skip


def said(found: dict[str, float | None]) -> str:
    """A ratio with its interval, "0.990 (0.951 to 1.031)"; alone where there is none."""
    if found["low"] is None:
        return f"{found['ratio']:.3g}"
    return f"{found['ratio']:.3g} ({found['low']:.3g} to {found['high']:.3g})"


def growth(found: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Lines of the table of what a query costs as there are more of them."""
    for row in found.get("harness", {}).get("by_queries", []):
        yield (f"{row['scenario']}, {row['queries']:,} queries", f"{row['samples_per_s']:,.0f}",
               f"{row['cpu_us']:.1f}", f"{row['bytes']:,.0f}")  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """All figures as Markdown tables."""
    heads = ("measurement", "ours", "compared with", "ratio (95 %)", "better if")
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
    if isinstance(params.target_qps, str):
        params = params.changed(target_qps=RunParams().target_qps)
    params = params.changed(dtype=resolve_dtype(params.dtype, resolve(params.model)))
    found: dict[str, Any] = {
        "date": date.today().isoformat(),
        "environment": environment(params.devices),
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
