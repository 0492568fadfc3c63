"""The report's sentences, each computed from a run; Markdown."""

import math
from collections.abc import Sequence

from loadgen_study.analysis.anatomy import Shares, Work
from loadgen_study.analysis.load import Busy
from loadgen_study.analysis.percentiles import lacking, say, tail
from loadgen_study.analysis.repeats import FEWEST_RUNS, spread
from loadgen_study.analysis.roofline import Roofline, say_share
from loadgen_study.findings.answers import said
from loadgen_study.findings.validity import what_would_make_valid
from loadgen_study.params import NOT_KNOWN
from loadgen_study.prose import plain
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules import published
from loadgen_study.rules.rule import Rule
from loadgen_study.runs.repeats import verdicts
from loadgen_study.words import count

BOUNDS = (
    "Behind a percentile stands what it stays under at 99 % confidence if queries are independent; "
    "those that wait behind one another are not, and it holds less often."
)


def verdict_text(test: Test) -> str:
    """LoadGen's verdict on one test with its own reasons, and the cure of an INVALID one."""
    lines = [f"**LoadGen: {plain(test.result.verdict)}**", ""]
    lines += [f"- {plain(reason)}" for reason in test.result.verdict_reasons]
    if cures := what_would_make_valid(test):
        lines += ["", "To make it valid:", "", *(f"1. {plain(cure)}" for cure in cures.values())]
    return "\n".join(lines)


def devices(run: Run) -> str:
    """What answered, as far as it is known."""
    machine = run.environment
    found = f"{count(machine.cpu.cores, 'core')} of {machine.cpu.model}"
    if machine.gpus:
        found = f"{len(machine.gpus)} x {machine.gpus[0].name}"
        if (elsewhere := run.devices - len(machine.gpus)) > 0:
            found += f" and {count(elsewhere, 'GPU')} of other machines"
    if run.params.engine_traits.started_here:
        return found
    asked = f"{count(len(run.params.base_url), 'server')}, asked from {found}"
    return asked if run.params.here else f"{asked} (the server's machine was not measured)"


def measured(run: Run) -> str:
    """What was asked of which model, in a sentence."""
    model, data, test, task = run.model, run.dataset, run.performance, run.task
    built_in = data.name == "embedded"
    what = count(data.total_samples, f"built-in {task.subject}" if built_in else "sample")
    if data.samples != data.total_samples:
        what = f"{data.samples:,} of the {what}"
    what += "" if built_in else f" of {plain(data.name)}"
    did = task.verb if data.instruction == task.instruction else "answers"
    how = f", in LoadGen's {plain(test.result.scenario)} scenario" if test else ""
    dtype = plain(model.dtype or f"type {NOT_KNOWN}")
    return f"{plain(model.name)} ({model.size_text}, {dtype}) {did} {what}{how}."


def repeats_text(run: Run) -> str:
    """How far the run's figures would be those of another run; empty without a finished test."""
    runs = list(run.repeats("performance").values())
    if not runs:
        return ""
    if len(runs) == 1:
        asked = f" ({run.params.repeats} runs were asked for)" if run.params.repeats > 1 else ""
        return (
            f"The performance test was made once{asked}: what another run would give cannot be "
            "told from it (`repeats: 3` tells)."
        )
    between = spread([test.metrics.tokens_per_s for test in runs])
    missing = run.params.repeats - len(runs)
    text = [
        f"The performance test was made {len(runs)} times"
        f"{f', of {run.params.repeats} that were asked for' if missing > 0 else ''}; LoadGen's "
        f"verdict: {plain(verdicts(runs))}. This report is of the median run by tokens/s, "
        f"{plain(run.performance_name)}. From run to run tokens/s has a coefficient of variation "
        f"of {between.cv:.1%}"
    ]
    if math.isnan(between.low):
        text.append(f"; from {FEWEST_RUNS} runs on there is an interval.")
    else:
        text.append(
            f"; the mean of the runs is {between.mean:,.1f} (95 % interval between runs "
            f"{between.low:,.1f} to {between.high:,.1f}), and one more run is expected at "
            f"{between.next_low:,.1f} to {between.next_high:,.1f}."
        )
    text.append(
        " All runs have the same queries, due at the same times: this is the variation of the "
        "machine, not that of the arrivals."
    )
    return "".join(text)


def accuracy_text(run: Run) -> str:
    """The verdict on the answers, and what decided it."""
    if run.accuracy is None:
        return "There is no accuracy test in this run; accuracy.ipynb makes one."
    return f"**{run.accuracy.verdict.status}**: {plain(said(run))}"


def latency_text(test: Test) -> str:
    """What a query's time is made of, and where the tail is."""
    m = test.metrics
    text = []
    if not math.isnan(m.queue_ms.mean):
        text.append(
            f"The mean TTFT of {m.ttft_ms.mean:.0f} ms is {m.schedule_delay_ms.mean:.1f} ms until "
            f"the harness issued the query, {m.queue_ms.mean:.0f} ms in the engine's queue and "
            f"{m.prefill_ms.mean:.0f} ms of prefill."
        )
    for name, known in (("TTFT", m.ttft_ms), ("TPOT", m.tpot_ms)):
        if (label := tail(known.queries)) not in (None, "p50") and known.p50:
            times = getattr(known, label) / known.p50
            text.append(f"Of {name}, {say(known, label)} is {times:.1f} x the median.")
    if lacks := lacking(m.ttft_ms.queries):
        text.append(f"{lacks}.")
    return " ".join(text)


def machine_text(run: Run, test: Test) -> str:
    """Whose machine is shown, where that is not the engine's; what busy cores tell and what not."""
    if not run.params.here:
        return "This is the client's machine: the server's was not measured."
    if run.environment.gpus or test.telemetry.empty:
        return ""
    whole_s = test.metrics.duration_s
    busy = Busy(test.latencies, whole_s).all_s / whole_s if whole_s else 0.0
    return (
        f"A query was in the system {busy:.0%} of the time. On a CPU a single one may keep all "
        "cores busy: how busy they are tells how often something ran, not how much more they could "
        "do."
    )


def no_limits(run: Run) -> str:
    """Why the run is not held against the machine's limits; empty if it is."""
    if not run.params.engine_traits.started_here:
        return (
            "A server's weights and their type were not read, and a limit is computed from both: "
            "how far this is from the machine's limits is not known."
        )
    if not run.params.engine_traits.runs_model:
        return "No limit of the machine applies: this engine runs no model."
    if run.roofline is None and run.machine is None:
        return "The machine's limits were not measured in this run (setup.ipynb measures them)."
    if missing := run.model.not_known:
        return f"The model's {missing}: not known, so no limit is claimed."
    if run.roofline is None:
        return (
            "How fast this machine multiplies in the type that this model's layers multiply in was "
            "not measured, so no limit is claimed."
        )
    return ""


BOUNDS_WORK = {True: "compute", False: "memory-bandwidth"}


def shares_lines(found: Shares, limits: Roofline) -> list[str]:
    """Decode and prefill, each as a share of its limit, and what latencies hold besides."""
    works = {
        f"Decode steps ({limits.batch:.1f} queries each)": (
            found.decode,
            "other queries' prefills",
        ),
        "Prefill steps": (found.prefill, "other queries' prompts"),
    }
    return [
        f"{name}: {_of_limit(work)}" + ("" if found.from_steps else f" (includes {others})")
        for name, (work, others) in works.items()
        if not math.isnan(work.share)
    ]


def _of_limit(work: Work) -> str:
    if work.too_low:
        return say_share(work.share)
    return f"{say_share(work.share)} of the {BOUNDS_WORK[work.computing]} limit"


def limits_text(run: Run, test: Test) -> str:
    """The run compared with the machine's measured limits."""
    if (found := run.roofline) is None:
        return no_limits(run)
    shares = run.shares
    step_gb = found.decode_limit_ms * found.bandwidth_gb_s / 1e3
    who = "This machine"
    if found.steps_at_once > 1:
        who = (
            f"{found.steps_at_once} steps ran at once, of replicas or parts of a pipeline; what "
            "follows is of each of them. Its part of this machine"
        )
    text = [
        f"{who} copies {found.bandwidth_gb_s:.1f} GB/s and multiplies "
        f"{found.rate_tflop_s:.3g} TFLOP/s in {plain(run.model.dtype)} (measured). A decode step "
        f"of {found.batch:.1f} queries must read at least {step_gb:.2f} GB, which takes "
        f"{found.decode_limit_ms:.1f} ms, and its arithmetic {found.decode_computing_ms:.1f} ms."
    ]
    if shares is not None:
        text += [f"{line}." for line in shares_lines(shares, found)]
    return " ".join([*text, _what_helps(found), _where_reading_ends(found)])


def _what_helps(found: Roofline) -> str:
    """Whether more queries at once make more of the machine."""
    if found.batch < found.critical_batch:
        return (
            "More queries at once share one reading of the weights (Offline, or a higher "
            "target_qps as far as the limits allow): more tokens/s of the machine, and a slower "
            "next token for each of them."
        )
    return "More queries at once would not help: the arithmetic bounds a step already."


def _where_reading_ends(found: Roofline) -> str:
    length = f"{found.context_tokens:.0f} tokens of context"
    if math.isinf(found.critical_batch):
        ends = f"With {length}, memory and not arithmetic is decode's limit at every batch."
    else:
        batch = f"a batch of about {found.critical_batch:.0f}"
        ends = f"With {length}, memory and not arithmetic is decode's limit up to {batch}."
    if not found.experts_ms:
        return ends
    return (
        f"{ends} The experts that a step reads are counted as if each token were sent to any of "
        "them with the same chance; a step whose tokens prefer the same ones reads less."
    )


def engine_text(run: Run) -> str:
    """Which name is not the model's; how long the engine took to load, and what its cache holds."""
    rules = "`benchmark` names the official rules to compare with, not the model that ran."
    engine = run.engine
    if engine is not None and not run.params.engine_traits.started_here:
        took_s = engine.connect_s or engine.load_s  # older runs have it as the time to load
        connected = "" if took_s is None else f" Connecting to it took {took_s:.2g} s."
        return f"{rules} The server was running already: its time to load is not known.{connected}"
    if engine is None or engine.load_s is None:
        return rules
    compiled = f", {engine.compile_s:.0f} s of it compiling" if engine.compile_s else ""
    cache = engine.kv_cache_tokens
    of = "Each replica's" if run.params.data_parallel_size > 1 else "Its"
    room = f" {of} KV cache has room for {cache:,} tokens." if cache else ""
    loaded = f" Its processes preload {', '.join(engine.preloaded)}." if engine.preloaded else ""
    return f"{rules} The engine took {engine.load_s:.0f} s to load{compiled}.{room}{loaded}"


def published_text(run: Run, test: Test, rules: Sequence[Rule]) -> str:
    """The run compared with the published results, or why it is not comparable."""
    kind = "GPU" if run.environment.gpus else "CPU"
    rate = test.metrics.tokens_per_s
    text = plain(published.comparison(run.params, rate, run.devices, rules, kind))
    if run.impossible:
        sentences = " ".join(run.impossible)
        return f"{text} **This figure is impossible on this machine**: {sentences}"
    return text
