"""The report's tables, each a frame made of a run's facts; ``display.table`` shows them."""

from collections.abc import Mapping

import pandas as pd

from loadgen_study.facts.inputs import Environment, MachineLimits, Model
from loadgen_study.params import NOT_KNOWN
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test

# What is shown of a server under test.
SERVED = {"route": "asked by", "token_ids": "token ids given by"}
# Shown of a model in setup.ipynb; of these None means that they could not be found out.
MAY_BE_UNKNOWN = ("parameters", "active_parameters", "weight_bytes", "dtype", "num_heads",
                  "num_kv_heads")  # fmt: skip
SHAPE = (
    "name", "architecture", "parameters", "active_parameters", "weight_bytes", "dtype",
    "quantization", "num_layers", "hidden_size", "num_heads", "num_kv_heads", "vocab_size",
    "max_position_embeddings",
)  # fmt: skip


def _named(rows: Mapping[str, object]) -> pd.DataFrame:
    """Names and values as a table."""
    return pd.DataFrame({"value": rows}, dtype=object).rename_axis("What")


# What was measured, on what ---------------------------------------------------------------------
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
    return _named(rows | environment.packages)


def model_table(model: Model) -> pd.DataFrame:
    """The model's shape."""
    rows = {name: getattr(model, name) for name in SHAPE}
    rows |= {name: NOT_KNOWN for name in MAY_BE_UNKNOWN if rows[name] is None}
    return _named({name.replace("_", " "): value for name, value in rows.items()})


def dataset_table(run: Run) -> pd.DataFrame:
    """The samples."""
    dataset = run.dataset
    lengths, scorer = dataset.input_tokens, run.task.scorer
    rows = dataset.model_dump(exclude={"schema_version", "input_tokens", "unscorable_references"})
    rows[f"references that {scorer.title} cannot score"] = dataset.unscorable_references
    rows["input tokens"] = f"{lengths.min} to {lengths.max}, mean {lengths.mean}"
    return _named(rows)


def limits_table(limits: MachineLimits) -> pd.DataFrame:
    """What the machine can do at most."""
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
    return _named({name: rows[name] for name in rows if rows[name] or name not in if_known})


# What came of it --------------------------------------------------------------------------------
def tests_table(run: Run) -> pd.DataFrame:
    """Samples, duration, status and verdict of each test and its repeats; empty without one."""
    names = dict.fromkeys(("accuracy", "performance", *run.repeats("performance")))
    judged = run.accuracy.verdict.status if run.accuracy else ""
    rows = {
        name: {
            "scenario": result.scenario,
            "samples": result.queries,
            "duration, s": f"{result.duration_s:.1f}",
            "status": result.status,
            "verdict": judged if name == "accuracy" else result.verdict or "",
            "errors logged": "" if result.num_errors is None else result.num_errors,
        }
        for name, result in ((name, run.test(name).result) for name in names if run.has(name))
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Test")


def replicas_table(test: Test) -> pd.DataFrame:
    """What each of several engines, or servers, had to do; empty of one."""
    return test.servers if test.replicas.empty else test.replicas


def accuracy_table(run: Run) -> pd.DataFrame:
    """Each accuracy metric and what is required of it; the score alone without a baseline."""
    if run.accuracy is None:
        return pd.DataFrame()
    verdict, scorer = run.accuracy.verdict, run.task.scorer
    titles = {metric.name: metric.title for metric in scorer.metrics}
    if not verdict.comparisons:
        score = run.accuracy.score
        return pd.DataFrame({"actual": score}).rename(index=titles).rename_axis("Metric")
    rows = {
        row.metric: {
            "actual": row.actual,
            "reference": row.reference,
            "ratio": f"{row.ratio:.4f}" if row.decides else "not known",
            "required": row.required if row.decides else "not known",
            f"met at {scorer.main.needed}": row.met if row.decides else "not decided",
            "met at 99.9 %": row.met_99_9 if row.decides else "not decided",
        }
        for row in verdict.comparisons
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename(index=titles).rename_axis("Metric")


def configuration_table(run: Run) -> pd.DataFrame:
    """The parameters of the run and what the engine made of those left to it.

    Those of a server that runs already are not known.
    """
    made = run.engine.effective_options if run.engine else {}
    rows: dict[str, dict[str, object]] = {}
    for name in run.params.names("shown"):
        if name in run.params.unknown:
            rows[name] = {"given": "", "effective": NOT_KNOWN}
            continue
        given, effective = (
            getattr(run.params, name),
            made.get(name, getattr(run.engine, name, None)),
        )
        if given not in (None, {}, [], "") or effective is not None:
            rows[name] = {"given": given, "effective": "" if effective is None else effective}
    for name in ("route", "token_ids"):
        if run.engine is not None and (told := getattr(run.engine, name)):
            rows[SERVED[name]] = {"given": "", "effective": told}
    return pd.DataFrame(rows).T.fillna("").rename_axis("Parameter")


def _files(run: Run) -> dict[str, str]:
    """The checkpoint's files by their hashes; the weights of a server are not known."""
    served = not run.params.engine_traits.started_here
    files = run.model.other_sha256 if served else run.model.sha256
    rows = {f"SHA-256 of {name}": sha for name, sha in files.items()}
    return rows | ({"weights of the server": NOT_KNOWN} if served else {})


def provenance_table(run: Run) -> pd.DataFrame:
    """What a stranger needs to repeat the run."""
    environment, dataset = run.environment, run.dataset
    git = environment.git
    rows: dict[str, object] = {
        "git commit": f"not known: {git.problem}" if git.problem else git.commit,
        "changed since the commit": git.dirty,
        "command": environment.command,
        "dataset": f"{dataset.source}, {dataset.samples} of {dataset.total_samples}",
        "dataset checksum": dataset.checksum,
        "SHA-256 of the prompts' token ids": dataset.prompts_sha256,
        **({"date in the chat template": date} if (date := dataset.template_date) else {}),
        **_files(run),
        "operating system": environment.os,
        "python": environment.python,
        **environment.packages,
        **{f"variable {name}": value for name, value in environment.variables.items()},
    }
    if run.performance is not None:
        settings = run.performance.result.effective_settings.model_dump()
        seeds = {name: str(settings[name]) for name in settings if name.endswith("rng_seed")}
        rows |= seeds
    return _named(rows)
