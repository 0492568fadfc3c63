"""A run as llm-d's Benchmark Report, schema 0.2 (llm-d-benchmark, benchmark_report/schema_v0_2.py).

Written as JSON, which that schema takes as it takes YAML. Percentiles that a test has too few
queries for are left out, as is what a run does not record.
"""

import math
from datetime import datetime, timedelta

from loadgen_study.facts.results import Distribution, Metrics
from loadgen_study.results.run import Run
from loadgen_study.runs.others.origin import OWN
from vllm_loadgen.files import sha256

SCHEMA = "0.2"


def written(run: Run) -> dict[str, object]:
    """The performance test of a run in this format."""
    test = run.test(run.performance_name)
    metrics = test.metrics
    return {
        "version": SCHEMA,
        "run": {
            "uid": sha256(test.folder / "result.json"),
            "time": _time(test.result.started_at, test.result.duration_s),
            "description": f"{run.model.name}, MLPerf {test.result.benchmark}, "
            f"{test.result.scenario}: LoadGen says {test.result.verdict}",
        },
        "scenario": {"load": _load(run)},
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": _requests(run),
                    "latency": _latency(metrics),
                    "throughput": {
                        "input_token_rate": _rate("tokens/s", metrics.input_tokens_per_s),
                        "output_token_rate": _rate("tokens/s", metrics.tokens_per_s),
                        "request_rate": _rate("queries/s", metrics.samples_per_s),
                    },
                }
            }
        },
    }


def _time(started_at: str, duration_s: float) -> dict[str, str]:
    duration = {"duration": f"PT{duration_s:.3f}S"}
    if not started_at:
        return duration
    end = datetime.fromisoformat(started_at) + timedelta(seconds=duration_s)
    return {"start": started_at, "end": end.isoformat(), **duration}


def _load(run: Run) -> dict[str, object]:
    test = run.test(run.performance_name)
    rate = test.result.effective_settings.target_qps
    load: dict[str, object] = {
        "tool": OWN,
        "tool_version": (run.environment.git.commit or "not known")[:12],
        "source": "sampled",
        "input_seq_len": _lengths(run, "input_tokens"),
    }
    if test.result.scenario_traits.scheduled and rate:
        load["rate_qps"] = rate
    if test.params.concurrency:
        load["concurrency"] = test.params.concurrency
    named = ("benchmark", "scenario", "max_new_tokens", "target_qps", "concurrency")
    options = {name: value for name, value in test.params.known().items() if name in named}
    return {
        "metadata": {"schema_version": "0.0.1"},
        "standardized": load,
        "native": {"args": options},
    }


def _lengths(run: Run, column: str) -> dict[str, object]:
    found = run.test(run.performance_name).latencies[column]
    return {"distribution": "other", "value": float(found.mean()), "std_dev": float(found.std()),
            "min": int(found.min()), "max": int(found.max())}  # fmt: skip


def _requests(run: Run) -> dict[str, object]:
    test = run.test(run.performance_name)
    frame, metrics = test.latencies, test.metrics
    lengths = {"input_length": "input_tokens", "output_length": "output_tokens"}
    return {
        "total": metrics.samples,
        "failures": test.result.refused,
        "incomplete": metrics.samples - metrics.completed - test.result.refused,
    } | {
        name: {"units": "count", "mean": float(frame[column].mean()),
               "min": int(frame[column].min()), "max": int(frame[column].max())}
        for name, column in lengths.items()
    }  # fmt: skip


def _latency(metrics: Metrics) -> dict[str, object]:
    named = {
        "time_to_first_token": ("ms", metrics.ttft_ms),
        "time_per_output_token": ("ms/token", metrics.tpot_ms),
        "request_latency": ("ms", metrics.latency_ms),
    }
    return {name: _statistics(*one) for name, one in named.items() if not math.isnan(one[1].mean)}


def _statistics(units: str, found: Distribution) -> dict[str, object]:
    values = {name: getattr(found, name) for name in ("mean", "p50", "p90", "p99", "min", "max")}
    return {"units": units} | {k: v for k, v in values.items() if not math.isnan(v)}


def _rate(units: str, value: float) -> dict[str, object]:
    return {"units": units, "mean": value}
