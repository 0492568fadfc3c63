"""The report's sentences and tables, each computed from a run; Markdown and DataFrames."""

import math
from typing import Any

import pandas as pd

from vllm_loadgen.accuracy import scores as accuracy
from vllm_loadgen.analysis import metrics as analysis
from vllm_loadgen.analysis import roofline as limits
from vllm_loadgen.findings import queries as diagnosis
from vllm_loadgen.findings import system as diagnosis_system
from vllm_loadgen.rules import published
from vllm_loadgen.rules.conformance import (
    Rule,
    conformance_table,
    departures,
    effective_verdict,
    title,
)
from vllm_loadgen.runs.compare import Digest
from vllm_loadgen.runs.live import Run

# Shown in the report's table of the configuration, in this order.
CONFIGURATION = (
    "model", "model_revision", "dataset", "num_samples", "chat_template", "benchmark", "scenario",
    "target_qps", "target_latency_ms", "min_duration_ms", "min_query_count",
    "target_latency_percentile", "max_new_tokens", "dtype", "max_model_len",
    "tensor_parallel_size", "max_num_seqs", "max_num_batched_tokens", "enforce_eager",
    "kv_cache_dtype", "quantization", "load_format", "enable_prefix_caching", "engine_options",
)  # fmt: skip


def rules(run: Run) -> list[Rule]:
    """The conformance table of the run's performance test; empty without one."""
    if not run.has("performance"):
        return []
    test = run.test("performance")
    return conformance_table(
        run.params,
        test.result,
        run.model,
        run.dataset,
        test.records,
        run.accuracy or None,
        run.compliance or None,
    )


def headline(run: Run, rules: list[Rule]) -> str:
    """LoadGen's verdict, what it rests on, the departures, and the cure of an INVALID run."""
    if not run.has("performance"):
        return "## No performance run\n\nRun perf.ipynb into this folder to measure one."
    test = run.test("performance")
    verdict, reasons = effective_verdict(test.result, test.records)
    departs = departures(rules)
    lines = [f"## {title(verdict, rules)}", ""]
    lines += [f"- {reason}" for reason in reasons if ":" in reason and "Result" not in reason]
    if departs:
        names = ", ".join(rule.rule.lower() for rule in departs)
        lines += ["", f"**Departures:** {names} (what is required of each: see Conformance)."]
    cures = diagnosis.what_would_make_valid(test.result, test.records)
    if cures and verdict != "VALID":
        lines += ["", "**What would make it valid**", "", *(f"1. {cure}" for cure in cures)]
    return "\n".join(lines)


def executive_summary(run: Run) -> str:
    """The run in a paragraph."""
    machine, model = run.environment, run.model
    device = machine["gpus"][0]["name"] if machine["gpus"] else machine["cpu"]["model"]
    count = (
        f"{len(machine['gpus'])} x " if machine["gpus"] else f"{machine['cpu']['cores']} cores of "
    )
    text = [
        f"**{model['name']}** ({model['parameters'] / 1e9:.3g} billion parameters, "
        f"{model['dtype']}) answered {run.dataset['samples']} samples of {run.dataset['name']} "
        f"on {count}{device}."
    ]
    if run.has("performance"):
        test = run.test("performance")
        m = test.metrics
        text.append(
            f"In the {test.result['scenario']} scenario it completed "
            f"**{m['samples_per_s']:.3f} samples/s** and **{m['tokens_per_s']:.1f} output "
            f"tokens/s** over {m['duration_s']:.0f} s; the first token took "
            f"{m['ttft_ms']['mean']:.0f} ms on average (p99 {m['ttft_ms']['p99']:.0f} ms), each "
            f"further token {m['tpot_ms']['mean']:.1f} ms (p99 {m['tpot_ms']['p99']:.1f} ms)."
        )
    if run.accuracy:
        score, verdict = run.accuracy["score"], run.accuracy["verdict"]
        text.append(
            f"Accuracy over {score['gen_num']} samples: ROUGE-1 {score['rouge1']:.2f}, ROUGE-2 "
            f"{score['rouge2']:.2f}, ROUGE-L {score['rougeL']:.2f}: **{verdict['status']}** "
            f"against {verdict['against']}. {accuracy.chance(verdict)}"
        )
    return " ".join(text)


def accuracy_table(run: Run) -> pd.DataFrame:
    """Each accuracy metric beside what is required of it; the score alone without a baseline."""
    score, verdict = run.accuracy["score"], run.accuracy["verdict"]
    if not verdict["comparisons"]:
        return pd.DataFrame({"actual": score}).rename_axis("Metric")
    table = pd.DataFrame(verdict["comparisons"]).set_index("metric").rename_axis("Metric")
    table["ratio"] = table["ratio"].map("{:.4f}".format)
    return table.rename(columns={"met_99_9": "met at 99.9 %", "met": "met at 99 %"})[
        ["actual", "reference", "ratio", "required", "met at 99 %", "met at 99.9 %"]
    ]


def tests_table(run: Run) -> pd.DataFrame:
    """Samples, duration and status of each test of the run."""
    rows = []
    for name in ("accuracy", "performance"):
        if run.has(name):
            result = run.test(name).result
            rows.append(
                {
                    "Test": name,
                    "scenario": result["scenario"],
                    "samples": result["queries"],
                    "duration, s": f"{result['duration_s']:.1f}",
                    "status": result["status"],
                    "verdict": result.get("verdict")
                    or run.accuracy.get("verdict", {}).get("status", ""),
                    "errors logged": result.get("num_errors", ""),
                }
            )
    return pd.DataFrame(rows).set_index("Test") if rows else pd.DataFrame()


def configuration_table(run: Run) -> pd.DataFrame:
    """The parameters of the run and what the engine made of those left to it."""
    given = run.params.model_dump()
    effective = run.engine
    rows = {
        name: {"given": given[name], "effective": effective.get(name, "")}
        for name in CONFIGURATION
        if given[name] not in (None, {}, "") or name in effective
    }
    return pd.DataFrame(rows).T.fillna("").rename_axis("Parameter")


def throughput_analysis(run: Run) -> str:
    """Rates, how they were limited, and what they come to by the hour and the day."""
    test = run.test("performance")
    m, load = test.metrics, analysis.arrivals_vs_service(test.records)
    hours = analysis.projections(m["samples_per_s"])
    text = []
    if test.result["scenario"] == "Server":
        text.append(
            f"{load['arrivals_per_s']:.3f} queries/s arrived and {load['completions_per_s']:.3f} "
            f"were completed while they did. "
            + (
                f"**Arrivals exceeded capacity**: the queries in the system grew by "
                f"{load['queue_growth_per_s']:.2g} a second, so the measured rate is the capacity "
                "and latencies grow with the length of the test."
                if diagnosis.overloaded(test.result, load, m["samples"])
                else "No queue built up, so the measured rate is the offered one, not the "
                "capacity: the machine may do more (Offline tells how much)."
            )
        )
    text.append(
        f"On average {load['mean_served']:.1f} queries were answered at once, at most "
        f"{load['peak_served']:.0f}."
    )
    text.append(
        f"Held for longer, this rate comes to {hours['samples_per_hour']:,.0f} samples an hour and "
        f"{hours['samples_per_day']:,.0f} a day; the {analysis.FULL_DATASET:,} samples of the "
        f"official dataset, if they were like these, would take "
        f"{hours['full_dataset_hours']:.1f} hours."
    )
    return " ".join(text)


def latency_analysis(run: Run) -> str:
    """What a query's time is made of, and where the tail is."""
    test = run.test("performance")
    m = test.metrics
    parts = {name: m[f"{name}_ms"]["mean"] for name in ("schedule_delay", "queue", "prefill")}
    text = []
    if not math.isnan(parts["queue"]):
        text.append(
            f"The mean TTFT of {m['ttft_ms']['mean']:.0f} ms is {parts['schedule_delay']:.1f} ms "
            f"until the harness issued the query, {parts['queue']:.0f} ms in the engine's queue "
            f"and {parts['prefill']:.0f} ms of prefill."
        )
    if m["ttft_ms"]["p50"]:
        text.append(
            f"The slowest hundredth waits {m['ttft_ms']['p99'] / m['ttft_ms']['p50']:.1f} times "
            f"the median for its first token and {m['tpot_ms']['p99'] / m['tpot_ms']['p50']:.1f} "
            "times for each further one."
        )
    return " ".join(text)


def measured_limits(run: Run) -> dict[str, float]:
    """``limits.limits`` of the performance test; empty if the machine was not measured."""
    test = run.test("performance")
    return limits.limits(
        run.model,
        run.machine,
        test.metrics,
        analysis.arrivals_vs_service(test.records)["mean_served"],
        float(test.records["input_tokens"].mean()),
        run.params.kv_cache_dtype,
        run.params.quantization,
        run.params.tensor_parallel_size,
    )


def findings(run: Run) -> list[diagnosis.Finding]:
    """All that the records of the performance test show, problems first."""
    test, params = run.test("performance"), run.params.model_dump()
    found = diagnosis.findings(test.records, test.result, params, _impossible(run))
    beside = diagnosis_system.findings(test.steps, test.telemetry)
    return diagnosis.by_severity([*found, *beside])


def _impossible(run: Run) -> list[str]:
    test, params = run.test("performance"), run.params
    return limits.impossible(
        run.model, run.machine, test.metrics, params.quantization, params.tensor_parallel_size
    )


def limits_text(run: Run) -> str:
    """The run beside the machine's measured limits."""
    found = measured_limits(run)
    if not found:
        return "The machine's limits were not measured in this run (setup.ipynb measures them)."
    test, bandwidth = run.test("performance"), run.machine["memory_bandwidth_gb_s"]
    return (
        f"This machine copies {bandwidth:.1f} GB/s and multiplies "
        f"{run.machine['matrix_tflop_s'][run.model['dtype']]:.3g} TFLOP/s in {run.model['dtype']} "
        f"(measured). A decode step of {found['batch']:.1f} queries must read at least "
        f"{found['decode_limit_ms'] * bandwidth / 1e3:.2f} GB, so it takes at least "
        f"{found['decode_limit_ms']:.1f} ms, and {found['decode_computing_ms']:.1f} ms for its "
        f"arithmetic: the mean time per output token, {test.metrics['tpot_ms']['mean']:.1f} ms, "
        f"reaches {found['decode_share']:.0%} of the bandwidth's limit. A prefill of "
        f"{test.records['input_tokens'].mean():.0f} tokens needs at least "
        f"{found['prefill_limit_ms']:.0f} ms of arithmetic, and the median prefill reaches "
        f"{found['prefill_share']:.0%} of that. {_where_reading_ends(found)}"
    )


def _where_reading_ends(found: dict[str, float]) -> str:
    batch = found["critical_batch_with_kv"]
    length = f"{found['context_tokens']:.0f} tokens of context"
    if math.isinf(batch):
        return f"With {length}, reading bounds decode at every batch."
    return f"With {length}, reading bounds decode up to a batch of about {batch:.0f}."


def published_text(run: Run, rules: list[Rule]) -> str:
    """The run beside the published results, or why it is not comparable."""
    params, tokens_per_s = run.params, run.test("performance").metrics["tokens_per_s"]
    devices = params.tensor_parallel_size if run.environment["gpus"] else 1
    text = published.comparison(params.model_dump(), tokens_per_s, devices, rules)
    if impossible := _impossible(run):
        return f"{text} **This figure is impossible on this machine**: {' '.join(impossible)}"
    return text


def beyond(peak: pd.DataFrame, sweep: pd.DataFrame, tuning: pd.DataFrame) -> str:
    """What was asked besides the performance test, and how to ask for the rest."""
    hints = {
        "the highest valid rate (`-p target_qps auto`)": peak,
        "a sweep (`-p sweep_qps '[0.3, 0.6]'`)": sweep,
        "a tuning (`-p tune '{max_num_seqs: [8, 64]}'`)": tuning,
    }
    missing = [hint for hint, table in hints.items() if table.empty]
    return f"perf.ipynb makes on demand: {'; '.join(missing)}." if missing else ""


def tuning_text(tuning: pd.DataFrame) -> str:
    """How much of a tuning is chance, and the best of it; empty without one."""
    if tuning.empty:
        return ""
    rates = tuning["tokens_per_s"].dropna()
    baselines = rates[rates.index.str.startswith("baseline")]
    if len(baselines) < 2:
        return "One of the two measurements of the run as it is failed: nothing to compare with."
    drift = baselines.max() / baselines.min() - 1
    best = rates.idxmax()
    return (
        f"The two measurements of the run as it is differ by {drift:.1%}: a smaller difference is "
        f"chance. The most tokens/s came with {best} ({tuning.loc[best, 'ratio'] - 1:+.1%})."
    )


def compared(runs: list[Digest]) -> str:
    """How to read the comparison, or how to ask for one."""
    if not runs:
        return "To set runs side by side: `-p runs '[outputs/one, other.ipynb]'`."
    return (
        "In brackets the 95 % interval of this run's own queries, and the difference from the "
        "first; * marks a difference whose intervals do not meet. Another day's run may differ "
        "by more than these intervals say."
    )


def conclusion(run: Run, rules: list[Rule]) -> str:
    """What the reader may take away, and what not."""
    if not run.has("performance"):
        return "There is no performance test in this run."
    test = run.test("performance")
    verdict, _ = effective_verdict(test.result, test.records)
    problems = [f.title for f in findings(run) if f.severity == "problem"]
    departs = len(departures(rules))
    return " ".join(
        [
            f"LoadGen's verdict is {verdict}.",
            f"{analysis.count(len(problems), 'problem')} found: {'; '.join(problems)}."
            if problems
            else "No problem was found in the records.",
            f"With {departs} departures from the official rules the figures describe this machine "
            "and this configuration and are not an MLPerf result."
            if departs
            else "No departure from the official rules was found.",
        ]
    )


def provenance_table(run: Run) -> pd.DataFrame:
    """What a stranger needs to repeat the run."""
    environment, dataset = run.environment, run.dataset
    weights = {k: v for k, v in run.model["sha256"].items() if k.endswith((".safetensors", ".bin"))}
    rows: dict[str, Any] = {
        "git commit": environment["git"]["commit"],
        "changed since the commit": environment["git"]["dirty"],
        "command": environment["command"],
        "dataset": f"{dataset['source']}, {dataset['samples']} of {dataset['total_samples']}",
        "dataset checksum": dataset["checksum"],
        **{f"SHA-256 of {name}": value for name, value in weights.items()},
        "operating system": environment["os"],
        "python": environment["python"],
        **environment["packages"],
    }
    if run.has("performance"):
        settings = run.test("performance").result.get("effective_settings", {})
        rows |= {name: str(settings[name]) for name in settings if name.endswith("rng_seed")}
    return pd.DataFrame({"value": rows}).rename_axis("What")
