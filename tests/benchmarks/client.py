"""``make bench-client``: how many queries/s the HTTP client can ask, and what one costs it.

An echo server on the loopback answers at once, a token an event, so what a query takes is the
client's, the server's and the kernel's. The same server is asked by ``vllm bench serve``'s own
client. Both measure on the cores that the server needs too.

Run as ``python client.py echo PORT`` it is the server, as ``python client.py ours URL QUERIES
RATE`` one measurement in a process of its own.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from bench import markdown, part, say
from rig import Rig

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.inputs.models import resolve
from loadgen_study.params import RunParams
from loadgen_study.results import folders
from vllm_loadgen.files import write_json
from vllm_loadgen.http.openai import OpenAIEngine
from vllm_loadgen.http.routes import COMPLETIONS
from vllm_loadgen.http.served import free_port

RATES = (50, 100, 200, 300, 400, 600, 800, 1000, 1500, 2000)
RATE_S = 6.0
# Added to a query at the 99th percentile; more, and the client is what is measured.
P99_MS = 5.0
INPUT_TOKENS, OUTPUT_TOKENS = 128, 32
SAMPLES = 100
# vLLM's, through its own module: the console command asks for a package called vllm.
BENCH = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


# The server --------------------------------------------------------------------------------------
def events() -> bytes:
    """The stream of one answer, a token an event, as vLLM writes it (HTTP/1.1, chunked)."""
    choices = [
        {"index": 0, "text": " a", "token_ids": [7], "finish_reason": None}
        for _ in range(OUTPUT_TOKENS)
    ]
    choices[-1]["finish_reason"] = "length"
    usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
    told = [json.dumps({"choices": [choice]}) for choice in choices]
    told += [json.dumps({"choices": [], "usage": usage}), "[DONE]"]
    pieces = [f"data: {event}\n\n".encode() for event in told]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Echo(asyncio.Protocol):
    """Answers each request of a connection at once, without a look at what it asks."""

    stream = events()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
    begun = head % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"

    def connection_made(self, transport: Any) -> None:
        self._transport, self._read = transport, b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, rest = self._read.split(b"\r\n\r\n", 1)
            fields = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:])
            length = int(fields.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            self._read = rest[length:]
            self._transport.write(self._answer(head.split(b" ", 2)[1].decode()))

    def _answer(self, path: str) -> bytes:
        if path == COMPLETIONS:
            return self.begun + self.stream
        if path == "/v1/models":
            body = json.dumps({"data": [{"id": "small"}]}).encode()
            kind = self.head % b"application/json"
            return kind + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


async def serve(port: int) -> None:
    """The server, until it is ended."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process]]:
    """The server in a process of its own: its URL, and the process."""
    port = free_port()
    with subprocess.Popen([sys.executable, __file__, "echo", str(port)]) as process:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    """Return when somebody listens there.

    Raises:
        SystemExit: if nobody does within a minute.
    """
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.1)
    raise SystemExit("The echo server did not start.")


# The clients -------------------------------------------------------------------------------------
def ours(url: str, queries: int, rate: float) -> dict[str, Any]:
    """One Server test through the SUT and its HTTP client.

    Returns:
        queries, per_s, p99_ms (latency from the due time), cpu_us (CPU time a query).
    """
    params = RunParams(
        engine="openai", base_url=[url], target_qps=rate, min_query_count=queries,
        min_duration_ms=1, max_new_tokens=OUTPUT_TOKENS, min_new_tokens=1,
    )  # fmt: skip
    prompts = [list(range(INPUT_TOKENS))] * SAMPLES
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "config.json", {"vocab_size": 10**6})
        with Rig(OpenAIEngine(params, folder, ""), prompts) as rig:
            cpu_s = time.process_time()
            records = rig.loadgen(params, Path(folder))
            cpu_s = time.process_time() - cpu_s
    frame = latencies(records)
    return {
        "queries": len(records),
        "per_s": metrics(frame, params.scenario).samples_per_s,
        "p99_ms": percentile(frame["latency_ms"], 0.99),
        "cpu_us": cpu_s / len(records) * 1e6,
    }


def theirs(url: str, queries: int, rate: float, tokenizer: Path) -> dict[str, Any]:
    """The same by ``vllm bench serve``: latency from the sending, text in place of token ids.

    CPU time is of the whole process, which loads vLLM and makes the prompts as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "backend": "vllm", "base-url": url, "model": "small", "tokenizer": tokenizer,
            "dataset-name": "random", "random-input-len": INPUT_TOKENS,
            "random-output-len": OUTPUT_TOKENS, "num-prompts": queries, "request-rate": rate,
            "percentile-metrics": "ttft,e2el", "result-dir": folder, "result-filename": "r.json",
        }  # fmt: skip
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-c", BENCH, *given, "--save-result", "--disable-tqdm"]
        before = children_s()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"vllm bench serve failed:\n{done.stderr[-3000:]}")
        found = json.loads(Path(folder, "r.json").read_text(encoding="utf-8"))
    return {
        "queries": found["completed"],
        "per_s": found["request_throughput"],
        "p99_ms": found["p99_e2el_ms"],
        "cpu_s": children_s() - before,
    }


def children_s() -> float:
    """CPU seconds of the children that have ended."""
    times = psutil.Process().cpu_times()
    return times.children_user + times.children_system


def own(url: str, queries: int, rate: float) -> dict[str, Any]:
    """``ours`` in a process of its own."""
    return part("client.py", "ours", url, str(queries), str(rate))


# The comparison ----------------------------------------------------------------------------------
def ladder(
    ask: Callable[[int, float], dict[str, Any]], name: str, server: psutil.Process
) -> list[dict[str, Any]]:
    """Ever higher rates until two in turn are too late at p99; each with the server's CPU time."""
    steps: list[dict[str, Any]] = []
    for rate in RATES:
        cpu = server.cpu_times()
        found = ask(int(rate * RATE_S), rate)
        spent = server.cpu_times()
        server_s = spent.user + spent.system - cpu.user - cpu.system
        steps.append({"rate": rate, "server_us": server_s / found["queries"] * 1e6} | found)
        say(f"{name} at {rate} queries/s: p99 {found['p99_ms']:.2f} ms")
        if len(steps) > 1 and min(step["p99_ms"] for step in steps[-2:]) >= P99_MS:
            break
    return steps


def highest(steps: list[dict[str, Any]]) -> int:
    """The highest rate with p99 under ``P99_MS``; 0 if none was."""
    return max((step["rate"] for step in steps if step["p99_ms"] < P99_MS), default=0)


def added_us(steps: list[dict[str, Any]]) -> float | None:
    """CPU time of a query by two tests of different sizes, so that what is fixed falls out."""
    if len(steps) < 2:
        return None
    less, more = steps[0], steps[-1]
    return (more["cpu_s"] - less["cpu_s"]) / (more["queries"] - less["queries"]) * 1e6


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    mine, other = found["ours"], found["vllm bench serve"]
    added, ceilings = added_us(other), [highest(steps) for steps in (mine, other)]
    rows = [
        (f"queries/s with p99 under {P99_MS:g} ms", *map(str, ceilings)),
        ("CPU us a query", f"{mine[-1]['cpu_us']:.0f}", "" if added is None else f"{added:.0f}"),
    ]
    lines = [
        (name, f"{step['rate']}", f"{step['per_s']:.1f}", f"{step['p99_ms']:.2f}",
         f"{step['server_us']:.0f}")
        for name in ("ours", "vllm bench serve") for step in found[name]
    ]  # fmt: skip
    heads = ("client", "rate", "queries/s", "p99 latency, ms", "CPU us of the server")
    echo = f"echo server, {OUTPUT_TOKENS} tokens streamed"
    return f"{markdown((echo, 'ours', 'vllm bench serve'), rows)}\n\n{markdown(heads, lines)}"


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="outputs/bench-client.json", help="where figures go")
    options = parser.parse_args()
    tokenizer = resolve("smollm2-135m-instruct")
    found: dict[str, Any] = {"date": date.today().isoformat()}
    with serving() as (url, server):
        found["ours"] = ladder(partial(own, url), "ours", server)
        ask = partial(theirs, url, tokenizer=tokenizer)
        found["vllm bench serve"] = ladder(ask, "vllm bench serve", server)
    out = folders.project_root() / options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    print(table(found))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", port]:
            asyncio.run(serve(int(port)))
        case ["ours", url, queries, rate]:
            print(json.dumps(ours(url, int(queries), float(rate))))
        case _:
            main()
