"""``make bench-load``: what a query costs the worker as there are more of them, up to 10^6.

The worker as every run has it, with its journal, on the echo engine. Its memory is that of its
fullest moment, above what it had before the test; LoadGen alone is its Python binding with a
callback that answers at once, and what no SUT can be under.
"""

import argparse
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from bench import markdown, part, say
from ceiling import PROMPTS, SAMPLES, TOKENS, settings_of
from rig import forget_peak, peak_bytes

from loadgen_study.results import folders
from vllm_loadgen.files import write_json
from vllm_loadgen.harness.session import Session
from vllm_loadgen.records.result import Result

QUERIES = (100_000, 300_000, 1_000_000)
RATE = 20_000.0
# Memory is flat where the queries added last take no more than this multiple of those before:
# columns grow by steps.
FLAT = 1.3
KINDS = ("Server", "Offline", "LoadGen alone")


def cost(scenario: str, queries: int, rate: float = RATE) -> dict[str, Any]:
    """One test in a worker of its own.

    Returns:
        queries, duration_s, memory_bytes (of the fullest moment), cpu_us (CPU time a query).
    """
    params = settings_of(scenario, queries, rate)
    with tempfile.TemporaryDirectory() as path, Session(params, "", Path(path, "log")) as session:
        folder = Path(path)
        # What is loaded at first use is nothing that a query takes.
        (folder / "before").mkdir()
        before = settings_of(scenario, SAMPLES, rate)
        session.run(before, PROMPTS, "performance", folder / "before")
        worker = psutil.Process(session.pid)
        forget_peak(worker.pid)
        memory, cpu = peak_bytes(worker.pid), worker.cpu_times()
        (folder / "test").mkdir()
        session.run(params, PROMPTS, "performance", folder / "test")
        grown, spent = peak_bytes(worker.pid) - memory, worker.cpu_times()
        result = Result.read(folder / "test" / "result.json")
    return {
        "queries": result.queries,
        "duration_s": result.duration_s,
        "memory_bytes": grown,
        "cpu_us": (spent.user + spent.system - cpu.user - cpu.system) / result.queries * 1e6,
    }


def alone(queries: int) -> dict[str, Any]:
    """The same of LoadGen's binding with nothing behind it."""
    found = part("ceiling.py", "empty", str(queries), str(RATE))
    return {
        "queries": found["queries"],
        "duration_s": found["queries"] / found["samples_per_s"],
        "memory_bytes": found["bytes"] * found["queries"],
        "cpu_us": found["cpu_us"],
    }


def added_bytes(costs: Sequence[dict[str, Any]]) -> list[float]:
    """Bytes of each query that a test has more than the one before it; the first by itself."""
    nothing = {"queries": 0, "memory_bytes": 0}
    return [
        (more["memory_bytes"] - less["memory_bytes"]) / (more["queries"] - less["queries"])
        for less, more in pairwise([nothing, *costs])
    ]


def is_flat(costs: Sequence[dict[str, Any]]) -> bool:
    """Whether a query takes no more memory where there are more of them."""
    _, *added = added_bytes(costs)
    return all(later <= FLAT * earlier for earlier, later in pairwise(added))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """All figures as a Markdown table."""
    heads = ("echo engine", "s", "CPU us a query", "bytes a query", "of each added", "flat")
    lines = []
    for kind, costs in found.items():
        for row, added in zip(costs, added_bytes(costs), strict=True):
            last = row is costs[-1]
            lines.append(
                (
                    f"{kind}, {row['queries']:,} queries",
                    f"{row['duration_s']:.1f}",
                    f"{row['cpu_us']:.1f}",
                    f"{row['memory_bytes'] / row['queries']:,.0f}",
                    f"{added:,.0f}",
                    ("yes" if is_flat(costs) else "no") if last else "",
                )
            )
    return markdown(heads, lines)


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, nargs="*", default=QUERIES, help="sizes of a test")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--out", default="outputs/bench-load.json", help="where the figures go")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in options.kinds:
        for queries in sorted(options.queries):
            measured = alone(queries) if kind == KINDS[-1] else cost(kind, queries)
            say(f"{kind}: {measured}")
            found.setdefault(kind, []).append(measured)
    out = folders.project_root() / options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {"cores": psutil.cpu_count(), "tokens": TOKENS, "by_kind": found})
    print(table(found))


if __name__ == "__main__":
    main()
