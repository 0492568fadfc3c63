"""The tables of setup.ipynb: machine, model, data and measured limits."""

import pandas as pd

from loadgen_study.facts.inputs import Environment, MachineLimits, Model
from loadgen_study.params import NOT_KNOWN
from loadgen_study.report.display import named
from loadgen_study.results.run import Run

# Shown of a model in setup.ipynb; of these None means that they could not be found out.
MAY_BE_UNKNOWN = ("parameters", "active_parameters", "weight_bytes", "dtype", "num_heads",
                  "num_kv_heads")  # fmt: skip
SHAPE = (
    "name", "architecture", "parameters", "active_parameters", "weight_bytes", "dtype",
    "quantization", "num_layers", "hidden_size", "num_heads", "num_kv_heads", "vocab_size",
    "max_position_embeddings",
)  # fmt: skip


def environment_table(environment: Environment) -> pd.DataFrame:
    """The machine and its software."""
    gpus = ", ".join(f"{gpu.name} ({gpu.memory_gib} GiB)" for gpu in environment.gpus)
    rows = {
        "CPU": environment.cpu.model,
        "cores": environment.cpu.cores,
        "memory, GiB": environment.cpu.memory_gib,
        "GPUs": gpus or "none",
        "OS": environment.os,
        "Python": environment.python,
    }
    return named(rows | environment.packages)


def model_table(model: Model) -> pd.DataFrame:
    """The model's shape."""
    rows = {name: getattr(model, name) for name in SHAPE}
    rows |= {name: NOT_KNOWN for name in MAY_BE_UNKNOWN if rows[name] is None}
    return named({name.replace("_", " "): value for name, value in rows.items()})


def dataset_table(run: Run) -> pd.DataFrame:
    """The samples."""
    dataset = run.dataset
    lengths, scorer = dataset.input_tokens, run.task.scorer
    rows = dataset.model_dump(exclude={"schema_version", "input_tokens", "unscorable_references"})
    rows[f"references that {scorer.title} cannot score"] = dataset.unscorable_references
    rows["input tokens"] = f"{lengths.min} to {lengths.max}, mean {lengths.mean}"
    return named(rows)


def limits_table(limits: MachineLimits | None) -> pd.DataFrame:
    """What the machine can do at most; empty if it was not measured."""
    if limits is None:
        return pd.DataFrame()
    rates: dict[str, object] = dict(limits.matrix_tflop_s)
    for name in limits.asked_for:
        rates.setdefault(name, "this device has no such products")
    rows: dict[str, object] = {
        "device": limits.device,
        "threads": limits.threads,
        "memory bandwidth, GB/s": limits.memory_bandwidth_gb_s,
        "measured by copies of, MiB": limits.buffer_mib,
        "last level of cache, MiB": limits.last_level_cache_mib,
        **{f"{name}, TFLOP/s": rate for name, rate in rates.items()},
    }
    if_known = ("measured by copies of, MiB", "last level of cache, MiB")
    return named({name: rows[name] for name in rows if rows[name] or name not in if_known})
