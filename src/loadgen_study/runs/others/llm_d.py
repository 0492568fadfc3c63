"""A run as llm-d's Benchmark Report, schema 0.2 (llm-d-benchmark, benchmark_report/schema_v0_2.py).

The schema takes JSON or YAML; this is JSON. It leaves out percentiles for which a test has too few
queries, and what a run does not record.
"""

import math
from datetime import datetime, timedelta

import pandas as pd

from loadgen_study.facts.results import Metrics
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.others.origin import OWN
from vllm_loadgen.files import sha256

SCHEMA = "0.2"
OPTIONS = ("benchmark", "scenario", "max_new_tokens", "target_qps", "concurrency")


def written(run: Run) -> dict[str, object]:
    """The performance test of a run in this format."""
    test = run.test(run.performance_name)
    result, metrics = test.result, test.metrics
    figures = {
        "requests": _requests(test),
        "latency": _latency(metrics),
        "throughput": {
            "input_token_rate": {"units": "tokens/s", "mean": metrics.input_tokens_per_s},
            "output_token_rate": {"units": "tokens/s", "mean": metrics.tokens_per_s},
            "request_rate": {"units": "queries/s", "mean": metrics.samples_per_s},
        },
    }
    return {
        "version": SCHEMA,
        "run": {
            "uid": sha256(test.folder / "result.json"),
            "time": _time(result.started_at, result.duration_s),
            "description": f"{run.model.name}, MLPerf {result.benchmark}, {result.scenario}: "
            f"LoadGen says {result.verdict}",
        },
        "scenario": {"load": _load(test, run.environment.git.commit)},
        "results": {"request_performance": {"aggregate": figures}},
    }


def _time(started_at: str, duration_s: float) -> dict[str, str]:
    duration = {"duration": f"PT{duration_s:.3f}S"}
    if not started_at:
        return duration
    end = datetime.fromisoformat(started_at) + timedelta(seconds=duration_s)
    return {"start": started_at, "end": end.isoformat(), **duration}


def _load(test: Test, commit: str | None) -> dict[str, object]:
    rate, lengths = test.result.effective_settings.target_qps, test.latencies["input_tokens"]
    load: dict[str, object] = {
        "tool": OWN,
        "tool_version": (commit or "not known")[:12],
        "source": "sampled",
        "input_seq_len": {
            "distribution": "other",
            "value": float(lengths.mean()),
            "std_dev": float(lengths.std()),
            **_range(lengths),
        },
    }
    if test.result.scenario_traits.scheduled and rate:
        load["rate_qps"] = rate
    if test.params.concurrency:
        load["concurrency"] = test.params.concurrency
    options = {name: value for name, value in test.params.known().items() if name in OPTIONS}
    return {
        "metadata": {"schema_version": "0.0.1"},
        "standardized": load,
        "native": {"args": options},
    }


def _range(lengths: "pd.Series[int]") -> dict[str, int]:
    return {"min": int(lengths.min()), "max": int(lengths.max())}


def _requests(test: Test) -> dict[str, object]:
    frame, metrics, refused = test.latencies, test.metrics, test.result.refused
    lengths = {"input_length": frame["input_tokens"], "output_length": frame["output_tokens"]}
    return {
        "total": metrics.samples,
        "failures": refused,
        "incomplete": metrics.samples - metrics.completed - refused,
    } | {
        name: {"units": "count", "mean": float(tokens.mean()), **_range(tokens)}
        for name, tokens in lengths.items()
    }


def _latency(metrics: Metrics) -> dict[str, object]:
    named = {
        "time_to_first_token": ("ms", metrics.ttft_ms),
        "time_per_output_token": ("ms/token", metrics.tpot_ms),
        "request_latency": ("ms", metrics.latency_ms),
    }
    found: dict[str, object] = {}
    for name, (units, times) in named.items():
        stats = {key: getattr(times, key) for key in ("mean", "p50", "p90", "p99", "min", "max")}
        known = {key: value for key, value in stats.items() if not math.isnan(value)}
        if "mean" in known:
            found[name] = {"units": units, **known}
    return found
