"""``make bench-peers``: the same load by other tools, at one server, at a fixed number at once.

One ``vllm serve`` of the embedded model answers the same prompts, with as many tokens each, to
each tool in turn. Each pair of a tool and ours is measured side by side, and its ratio has a 95 %
interval over the pairs. Peers have environments of their own, made once under ``--envs``.

Run as ``python peers.py ours URL MODEL PROMPTS`` it is our own measurement in a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml
from bench import markdown, part, ratio, said, say
from client import BENCH
from rig import Rig
from workload import workload

from loadgen_study.analysis.metrics import latencies
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.params import RunParams, read_yaml
from loadgen_study.results import folders
from vllm_loadgen.checkpoint import load_tokenizer
from vllm_loadgen.engines.vllm import command_line, engine_args, set_environment
from vllm_loadgen.files import write_json
from vllm_loadgen.http.openai import OpenAIEngine
from vllm_loadgen.http.served import HOST, SERVER, free_port

FIGURES = {
    "output_tokens": "output tokens", "ttft_p50_ms": "TTFT p50, ms", "ttft_p90_ms": "TTFT p90, ms",
    "tpot_p50_ms": "TPOT p50, ms", "tpot_p90_ms": "TPOT p90, ms", "tokens_per_s": "tokens/s",
}  # fmt: skip
DEFINITIONS = {
    "ours": "TTFT from send; TPOT = (last - first token) / (tokens - 1); the server's token ids; "
    "tokens/s from the first send to the last answer",
    "vllm": "vllm bench serve. TTFT from send; TPOT = (latency - TTFT) / (tokens - 1); tokens by "
    "the server's usage; tokens/s over its benchmark duration",
    "inference-perf": "TTFT from send; TPOT = (last - first token) / (tokens - 1); output "
    "tokens are the text's, tokenized again, and the rest by the server's usage; tokens/s over its "
    "stage",
    "guidellm": "TTFT from its request's start; TPOT is its inter-token latency, weighted by "
    "tokens: its own TPOT includes TTFT; tokens/s is its mean of rates over time",
}
INFERENCE_PERF_PYTHON = "3.12"
LOAD_S = 600.0


@dataclass(frozen=True)
class Load:
    """What each tool is given.

    Attributes:
        url, model: of the server; the model is a folder. prompts: texts.
        at_once: queries. tokens: of each answer.
    """

    url: str
    model: str
    prompts: Sequence[str]
    at_once: int
    tokens: int


Figures = dict[str, float]


# The tools ---------------------------------------------------------------------------------------
def ours(load: Load, folder: Path, _: Path) -> Figures:
    """The SUT and its HTTP client, under LoadGen, in a process of its own."""
    write_json(folder / "load.json", vars(load))
    return part("peers.py", "ours", str(folder / "load.json"))


def measured(load: Load, folder: Path) -> Figures:
    """One Offline test, of which so many queries are sent at once."""
    params = RunParams(
        engine="openai", base_url=[load.url], scenario="Offline", min_duration_ms=1,
        min_query_count=len(load.prompts), max_new_tokens=load.tokens, min_new_tokens=load.tokens,
    )  # fmt: skip
    tokenizer = load_tokenizer(Path(load.model), False)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in load.prompts]
    with Rig(OpenAIEngine(params, load.model, ""), ids) as rig:
        records = rig.loadgen(params, folder, concurrency=load.at_once)
    frame = latencies(records)
    tokens = float(frame["output_tokens"].sum())
    found = {"output_tokens": tokens}
    for name, column in (("ttft", "sent_ttft_ms"), ("tpot", "tpot_ms")):
        found |= {f"{name}_p{at}_ms": percentile(frame[column], at / 100) for at in (50, 90)}
    return found | {"tokens_per_s": tokens / (frame["done_s"].max() - frame["given_s"].min())}


def vllm(load: Load, folder: Path, _: Path) -> Figures:
    """``vllm bench serve``, of the environment that the server has."""
    rows = [json.dumps({"prompt": text, "output_tokens": load.tokens}) for text in load.prompts]
    (folder / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    options = {
        "backend": "vllm", "base-url": load.url, "model": load.model, "dataset-name": "custom",
        "dataset-path": folder / "prompts.jsonl", "custom-output-len": load.tokens,
        "num-prompts": len(load.prompts), "max-concurrency": load.at_once, "temperature": 0,
        "percentile-metrics": "ttft,tpot", "metric-percentiles": "50,90", "result-dir": folder,
        "result-filename": "r.json",
    }  # fmt: skip
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    flags = ["--skip-chat-template", "--disable-shuffle", "--ignore-eos", "--save-result"]
    run([sys.executable, "-c", BENCH, *given, *flags, "--disable-tqdm"], folder)
    found = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    return {
        "output_tokens": found["total_output_tokens"],
        **{name: found[_theirs(name)] for name in FIGURES if name.endswith("_ms")},
        "tokens_per_s": found["output_throughput"],
    }


def _theirs(name: str) -> str:
    """vLLM's name of a percentile: p90_ttft_ms."""
    latency, label, unit = name.split("_")
    return f"{label}_{latency}_{unit}"


def inference_perf(load: Load, folder: Path, envs: Path) -> Figures:
    """Its ``billsum_conversations`` reads pairs of texts; the second's tokens are the answer's."""
    tokenizer = load_tokenizer(Path(load.model), False)
    answer = tokenizer.decode(tokenizer.encode(" the" * load.tokens, add_special_tokens=False))
    turns = [[{"from": "human", "value": text}, {"from": "gpt", "value": answer}]
             for text in load.prompts]  # fmt: skip
    # It leaves the first out.
    write_json(folder / "data.json", [{"conversations": pair} for pair in (turns[0], *turns)])
    stage = {"num_requests": len(turns), "concurrency_level": load.at_once}
    config = {
        "api": {"type": "completion", "streaming": True},
        "data": {"type": "billsum_conversations", "path": str(folder / "data.json")},
        "load": {"type": "concurrent", "num_workers": 1, "stages": [stage]},
        "server": {"type": "vllm", "model_name": load.model, "base_url": load.url,
                   "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": load.model},
        "report": {"request_lifecycle": {"summary": True, "use_server_output_tokens": True},
                   "prometheus": None},
        "storage": {"local_storage": {"path": str(folder / "report")}},
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run([str(envs / "inference-perf/bin/inference-perf"), "-c", str(folder / "config.yml")], folder)
    (report,) = (folder / "report").glob("*summary_lifecycle_metrics.json")
    found = json.loads(report.read_text(encoding="utf-8"))["successes"]
    latency, rate = found["latency"], found["throughput"]["output_tokens_per_sec"]
    named = {"ttft": latency["time_to_first_token"], "tpot": latency["time_per_output_token"]}
    percentiles = {f"{name}_p{at}_ms": 1e3 * values[key] for name, values in named.items()
                   for at, key in ((50, "median"), (90, "p90"))}  # fmt: skip
    tokens = found["output_len"]["mean"] * found["count"]
    return {"output_tokens": tokens, **percentiles, "tokens_per_s": rate}


def guidellm(load: Load, folder: Path, envs: Path) -> Figures:
    """Its rows say how many tokens an answer has."""
    rows = [{"prompt": text, "output_tokens_count": load.tokens} for text in load.prompts]
    (folder / "prompts.json").write_text(json.dumps(rows), encoding="utf-8")
    spec = {
        "backend": {"kind": "openai_http", "target": load.url, "model": load.model,
                    "request_format": "/v1/completions", "validate_backend": False},
        "profile": {"kind": "concurrent", "streams": [load.at_once]},
        "constraints": [{"kind": "max_requests", "count": len(rows)}],
        "tokenizer": {"kind": "huggingface_auto", "model": load.model},
        "data": [{"kind": "json_file", "path": str(folder / "prompts.json")}],
        "outputs": [{"kind": "json", "path": str(folder / "r.json")}],
    }  # fmt: skip
    config = {"metadata": {"name": "peers"}, "spec": spec, "benchmarks": [{}]}
    (folder / "config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [str(envs / "guidellm/bin/guidellm"), "run", "-c", str(folder / "config.yml")]
    run([*command, "--disable-console"], folder)
    (found,) = json.loads((folder / "r.json").read_text(encoding="utf-8"))["benchmarks"]
    metrics = {name: values["successful"] for name, values in found["metrics"].items()
               if isinstance(values, dict) and "successful" in values}  # fmt: skip
    named = {"ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms"}
    percentiles = {f"{name}_p{at}_ms": metrics[theirs]["percentiles"][f"p{at}"]
                   for name, theirs in named.items() for at in (50, 90)}  # fmt: skip
    return {
        "output_tokens": metrics["output_token_count"]["total_sum"],
        **percentiles,
        "tokens_per_s": metrics["output_tokens_per_second"]["mean"],
    }


Tool = Callable[[Load, Path, Path], Figures]
PEERS: dict[str, Tool] = {"vllm": vllm, "inference-perf": inference_perf, "guidellm": guidellm}
TOOLS: dict[str, Tool] = {"ours": ours, **PEERS}


def run(command: Sequence[str], folder: Path) -> None:
    """One tool, to its end, without a look at any hub.

    Raises:
        SystemExit: with the end of what it printed, if it fails.
    """
    own = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")


def prepare(name: str, envs: Path) -> bool:
    """Make a peer's environment, unless it is there; whether the peer can run."""
    place = envs / name
    if name == "vllm" or (place / "bin" / name).exists():
        return True
    uv = str(Path(sys.executable).parent / "uv")
    wanted = INFERENCE_PERF_PYTHON if name == "inference-perf" else sys.executable
    # A name on the PATH may be a shim of pyenv's with nothing behind it.
    find = [uv, "python", "find", "--no-python-downloads", wanted]
    found = subprocess.run(find, capture_output=True, text=True, check=False)
    if found.returncode:
        say(f"{name} is left out: there is no Python {wanted}")
        return False
    say(f"installing {name} into {place}")
    venv = [uv, "venv", "--quiet", "--clear", "--python", found.stdout.strip(), place]
    subprocess.run(venv, check=True)
    command = [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", name]
    subprocess.run(command, check=True)
    return True


# The comparison ----------------------------------------------------------------------------------
@contextmanager
def serving(params: RunParams, model: str, log: Path) -> Iterator[str]:
    """``vllm serve`` with the run's own options: its URL."""
    set_environment(params)
    own = {"host": HOST, "port": free_port(), "disable_uvicorn_access_log": True}
    command = [*SERVER, *command_line(engine_args(params, model) | own)]
    with (
        log.open("w", encoding="utf-8") as out,
        subprocess.Popen(command, stdout=out, stderr=out) as process,
    ):
        try:
            url = f"http://{HOST}:{own['port']}"
            await_health(url, process, log)
            yield url
        finally:
            process.terminate()


def await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers.

    Raises:
        SystemExit: with the end of its log, if it ends or takes too long.
    """
    for _ in range(int(LOAD_S)):
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        if process.poll() is not None:
            break
        time.sleep(1)
    raise SystemExit(f"vllm serve did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def measure(name: str, load: Load, envs: Path) -> Figures:
    """One measurement by a tool."""
    with tempfile.TemporaryDirectory() as folder:
        figures = TOOLS[name](load, Path(folder), envs)
    say(f"{name}: {figures['tokens_per_s']:.1f} tokens/s")
    return figures


def compare(load: Load, names: Sequence[str], repeats: int, envs: Path) -> list[dict[str, Figures]]:
    """Pairs of ours and another tool, one right after the other, in an order that turns round.

    Ours first warms the server up.
    """
    measure("ours", load, envs)
    return [
        {tool: measure(tool, load, envs) for tool in ("ours", name)[:: -1 if number % 2 else 1]}
        for number in range(repeats)
        for name in names
    ]


def table(pairs: Sequence[Mapping[str, Figures]]) -> str:
    """Medians of each tool, its ratio to ours over the pairs, and the definitions."""
    tools = ["ours", *dict.fromkeys(tool for pair in pairs for tool in pair if tool != "ours")]
    rows = [[title, *(_cell(pairs, tool, name) for tool in tools)]
            for name, title in FIGURES.items()]  # fmt: skip
    definitions = "\n".join(f"- {tool}: {DEFINITIONS[tool]}." for tool in tools)
    return f"{markdown(('median; ratio to ours (95 %)', *tools), rows)}\n\n{definitions}"


def _cell(pairs: Sequence[Mapping[str, Figures]], tool: str, name: str) -> str:
    measured_by = [pair for pair in pairs if tool in pair]
    values = [pair[tool][name] for pair in measured_by]
    median = f"{statistics.median(values):,.1f}"
    if tool == "ours":
        return median
    return f"{median}; {said(ratio(values, [pair['ours'][name] for pair in measured_by]))}"


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", default="params/cpu.yaml", help="a file of parameters")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["vllm", "inference-perf"])
    parser.add_argument("--at-once", type=int, default=4, help="queries at once")
    parser.add_argument("--prompts", type=int, default=48, help="queries of a measurement")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each tool")
    parser.add_argument("--envs", type=Path, default=Path(tempfile.gettempdir()) / "bench-peers")
    parser.add_argument("--out", default="outputs/bench-peers.json", help="where figures go")
    options = parser.parse_args()
    names = [name for name in options.peers if prepare(name, options.envs)]
    params = RunParams.from_dict(read_yaml(options.params) | {"enable_prefix_caching": False})
    model, ids = workload(params, options.prompts)
    tokenizer = load_tokenizer(Path(model), False)
    prompts = [tokenizer.decode(one) for one in ids]
    log = options.envs / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with serving(params, model, log) as url:
        load = Load(url, model, prompts, options.at_once, options.tokens)
        found = compare(load, names, options.repeats, options.envs)
    out = folders.project_root() / options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {"date": date.today().isoformat(), "at_once": options.at_once, "pairs": found})
    print(table(found))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", path]:
            asked = Load(**json.loads(Path(path).read_text(encoding="utf-8")))
            with tempfile.TemporaryDirectory() as place:
                print(json.dumps(measured(asked, Path(place))))
        case _:
            main()
