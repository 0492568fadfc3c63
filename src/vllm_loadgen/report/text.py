"""The report's sentences, each computed from a run; Markdown."""

import html
import math
import re
from collections.abc import Sequence

from vllm_loadgen.accuracy.scores import chance
from vllm_loadgen.analysis.metrics import projection
from vllm_loadgen.analysis.percentiles import lacking, say, say_tail, tail
from vllm_loadgen.analysis.repeats import FEWEST_RUNS, spread
from vllm_loadgen.analysis.roofline import Roofline
from vllm_loadgen.analysis.steady import NotSteady
from vllm_loadgen.analysis.words import count, visible
from vllm_loadgen.findings.finding import Finding
from vllm_loadgen.findings.overload import issued_per_s, offered, overloaded
from vllm_loadgen.findings.validity import limit, what_would_make_valid
from vllm_loadgen.results.run import Run
from vllm_loadgen.results.test import Test
from vllm_loadgen.rules import published
from vllm_loadgen.rules.rule import Rule, departures, reservation
from vllm_loadgen.rules.verdict import effective_verdict, title
from vllm_loadgen.runs.repeats import verdicts

BOUNDS = (
    "Behind a percentile stands what it stays under at 99 % confidence if queries are independent; "
    "those that wait behind one another are not, and it holds less often."
)


def plain(text: object) -> str:
    """Text from a file, such as a dataset's name, that Markdown must show and not obey."""
    escaped = html.escape(visible(" ".join(str(text).split())), quote=False)
    # An underscore within a word is one.
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", escaped)


def headline(run: Run, rules: Sequence[Rule]) -> str:
    """LoadGen's verdict, what it rests on, the departures, and the cure of an INVALID run."""
    test = run.performance
    if test is None:
        return "## No performance run\n\nRun perf.ipynb into this folder to measure one."
    verdict, reasons = effective_verdict(test)
    lines = [f"## {plain(title(verdict, rules))}", ""]
    lines += [
        f"- {plain(reason)}" for reason in reasons if ":" in reason and "Result" not in reason
    ]
    if departs := departures(rules):
        names = ", ".join(rule.rule.lower() for rule in departs)
        lines += ["", f"**Departures:** {names} (what is required of each: see Conformance)."]
    cures = what_would_make_valid(test)
    if cures and verdict != "VALID":
        lines += ["", "**What would make it valid**", "", *(f"1. {plain(cure)}" for cure in cures)]
    return "\n".join(lines)


def verdict_text(test: Test) -> str:
    """LoadGen's verdict on one test with its own reasons, and the cure of an INVALID one."""
    lines = [f"**LoadGen: {plain(test.result.verdict)}**", ""]
    lines += [f"- {plain(reason)}" for reason in test.result.verdict_reasons]
    if cures := what_would_make_valid(test):
        lines += ["", "To make it valid:", "", *(f"1. {plain(cure)}" for cure in cures)]
    return "\n".join(lines)


def executive_summary(run: Run) -> str:
    """The run in a paragraph."""
    machine, model = run.environment, run.model
    devices = f"{machine.cpu.cores} cores of {machine.cpu.model}"
    if machine.gpus:
        devices = f"{len(machine.gpus)} x {machine.gpus[0].name}"
    if run.params.engine == "openai":
        asked = f"{count(len(run.params.base_url), 'server')}, asked from {devices}"
        devices = asked if run.params.here else f"{asked}. The server's machine was not measured"
    text = [
        f"**{plain(model.name)}** ({model.parameters / 1e9:.3g} billion parameters, "
        f"{plain(model.dtype)}) "
        f"answered {run.dataset.samples} samples of {plain(run.dataset.name)} on "
        f"{plain(devices)}."
    ]
    if run.performance is not None:
        m = run.performance.metrics
        text.append(
            f"In the {plain(run.performance.result.scenario)} scenario it completed "
            f"**{m.samples_per_s:.3f} samples/s** and **{m.tokens_per_s:.1f} output tokens/s** "
            f"over {m.duration_s:.0f} s; the first token took {m.ttft_ms.mean:.0f} ms on average, "
            f"{say_tail(m.ttft_ms)}, each further token {m.tpot_ms.mean:.1f} ms, "
            f"{say_tail(m.tpot_ms)}."
        )
        if lacks := lacking(m.ttft_ms.queries):
            text.append(f"{lacks}.")
    if run.accuracy is not None:
        score, verdict = run.accuracy.score, run.accuracy.verdict
        text.append(
            f"Accuracy over {score.gen_num} samples: ROUGE-1 {score.rouge1:.2f}, ROUGE-2 "
            f"{score.rouge2:.2f}, ROUGE-L {score.rougeL:.2f}: **{verdict.status}** against "
            f"{plain(verdict.against)}. {chance(verdict)}"
        )
    return " ".join(text)


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
    """The verdict on the answers in a sentence."""
    if run.accuracy is None:
        return "There is no accuracy test in this run; accuracy.ipynb makes one."
    verdict = run.accuracy.verdict
    return f"**{verdict.status}** against {plain(verdict.against)}. {chance(verdict)}"


def throughput_text(run: Run, test: Test) -> str:
    """Rates, how they were limited, and what they come to by the hour and the day."""
    m, load, samples = test.metrics, test.load, run.params.rules.samples
    held = projection(m.samples_per_s, samples)
    text = []
    if test.result.scenario == "Server":
        text.append(
            f"{load.arrivals_per_s:.3f} queries/s arrived and {load.completions_per_s:.3f} were "
            f"completed while they did. {_against_capacity(test)}"
        )
    text.append(
        f"On average {load.mean_served:.1f} queries were answered at once, at most "
        f"{load.peak_served:.0f}."
    )
    text.append(
        f"Held for longer, this rate comes to {held.samples_per_hour:,.0f} samples an hour and "
        f"{held.samples_per_day:,.0f} a day; the {samples:,} samples of the official dataset, if "
        f"they were like these, would take {held.full_dataset_hours:.1f} hours."
    )
    return " ".join(text)


def cost_text(run: Run, test: Test) -> str:
    """Price and energy of this rate, as far as they are known; empty if neither is."""
    text = []
    if price := test.price(run.params.price_per_hour):
        text.append(
            f"At {run.params.price_per_hour:g} an hour, a million output tokens at this rate cost "
            f"{price.per_million_tokens:,.3g}, and {run.params.rules.samples:,} samples like these "
            f"{price.per_run:,.3g}, in the same currency."
        )
    if energy := test.energy:
        sources = " and ".join(f"{watts:,.0f} W ({name})" for name, watts in energy.watts.items())
        text.append(
            f"The machine took {sources} on average, idle parts included: "
            f"{energy.joules_per_token:,.3g} J per output token, by what it measures of itself."
        )
    return " ".join(text)


def _against_capacity(test: Test) -> str:
    """What the rate of a Server test says of the machine."""
    if not offered(test):
        return (
            f"**The harness did not offer the {test.params.rate:,.4g} queries/s that were asked "
            f"for**: it issued {issued_per_s(test):,.4g}, so it is the limit here and not the "
            "machine under test."
        )
    if overloaded(test):
        return (
            "**Arrivals exceeded capacity**: the queries in the system grew by "
            f"{test.load.queue_growth_per_s:.2g} a second, so the measured rate is the capacity "
            "and latencies grow with the length of the test."
        )
    kept_up = "No queue built up, so the measured rate is the offered one"
    found = [limit(test, name) for name in ("ttft", "tpot")]
    if broken := [one.title for one in found if one and one.severity == "problem"]:
        return (
            f"{kept_up}, but {' and '.join(broken).replace(' exceeds its limit', '')} exceeded "
            "the limits: within them the machine serves less than this."
        )
    return f"{kept_up}, not the capacity: the machine may do more (Offline tells how much)."


def steady_text(test: Test) -> str:
    """The test between its ramp and its drain, beside the whole of it, or why there is no such."""
    found = test.steady
    if isinstance(found, NotSteady):
        return f"There is no steady state in this test: {found.reason}."
    text = (
        f"The batch had reached its level at {found.begin_s:.1f} s, and the last query came into "
        f"it at {found.end_s:.1f} s: between the two lies the steady state"
    )
    if overloaded(test):
        return f"{text}, in which the tokens/s are the capacity's and the latencies grow."
    if test.result.scenario == "Server":
        return f"{text}, in which the arrivals decide the tokens/s."
    if found.shift is not None:
        shifted = (
            f"they changed from {found.shift.before:,.1f} to {found.shift.after:,.1f} at "
            f"{found.shift.at_s:.0f} s, which is no chance"
        )
    elif found.windows:
        shifted = f"no lasting change of them was found in {found.windows} parts of it"
    else:
        shifted = "it is too short to look for a lasting change of them"
    return (
        f"{text}. At the tokens/s of that time the whole test would have been "
        f"{found.ramp_cost_s:.1f} s shorter in its ramp and {found.drain_cost_s:.1f} s in its "
        f"drain; {shifted}. LoadGen's figure is that of the whole test."
    )


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
            text.append(f"Of {name}, {say(known, label)} is {times:.1f} times the median.")
    if lacks := lacking(m.ttft_ms.queries):
        text.append(f"{lacks}.")
    return " ".join(text)


def machine_text(run: Run) -> str:
    """Whose machine is shown, where that is not the engine's."""
    if run.params.here:
        return ""
    return "This is the client's machine: the server's was not measured."


def limits_text(run: Run, test: Test, found: Roofline | None) -> str:
    """The run compared with the machine's measured limits."""
    if not run.params.here:
        return "The server's machine was not measured, so nothing is said of its limits."
    if found is None and run.machine is None:
        return "The machine's limits were not measured in this run (setup.ipynb measures them)."
    if found is None:
        return (
            "How fast this machine multiplies in the type that this model's layers multiply in was "
            "not measured, so no limit is claimed."
        )
    step_gb = found.decode_limit_ms * found.bandwidth_gb_s / 1e3
    return (
        f"This machine copies {found.bandwidth_gb_s:.1f} GB/s and multiplies "
        f"{found.rate_tflop_s:.3g} TFLOP/s in {plain(run.model.dtype)} (measured). A decode step "
        f"of {found.batch:.1f} queries must read at least {step_gb:.2f} GB, so it takes at least "
        f"{found.decode_limit_ms:.1f} ms, and {found.decode_computing_ms:.1f} ms for its "
        f"arithmetic: the mean time per output token, {test.metrics.tpot_ms.mean:.1f} ms, reaches "
        f"{found.decode_share:.0%} of the bandwidth's limit. A prefill of "
        f"{found.input_tokens:.0f} tokens needs at least {found.prefill_limit_ms:.0f} ms of "
        f"arithmetic, and the mean prefill reaches {found.prefill_share:.0%} of that. "
        f"{_where_reading_ends(found)}"
    )


def _where_reading_ends(found: Roofline) -> str:
    length = f"{found.context_tokens:.0f} tokens of context"
    if math.isinf(found.critical_batch):
        ends = f"With {length}, reading bounds decode at every batch."
    else:
        batch = f"a batch of about {found.critical_batch:.0f}"
        ends = f"With {length}, reading bounds decode up to {batch}."
    if not found.experts_ms:
        return ends
    return (
        f"{ends} The experts that a step reads are counted as if each token were sent to any of "
        "them with the same chance; a step whose tokens prefer the same ones reads less."
    )


def engine_text(run: Run) -> str:
    """How long the engine took to load, and what its cache holds; empty where it is not known."""
    engine = run.engine
    if engine is None or engine.load_s is None:
        return ""
    compiled = f", {engine.compile_s:.0f} s of it compiling" if engine.compile_s else ""
    cache = engine.kv_cache_tokens
    room = f" Its KV cache has room for {cache:,} tokens." if cache else ""
    return f"The engine took {engine.load_s:.0f} s to load{compiled}.{room}"


def published_text(run: Run, test: Test, rules: Sequence[Rule]) -> str:
    """The run compared with the published results, or why it is not comparable."""
    kind = "GPU" if run.environment.gpus else "CPU"
    rate = test.metrics.tokens_per_s
    text = plain(published.comparison(run.params, rate, run.devices, rules, kind))
    if run.impossible:
        sentences = " ".join(run.impossible)
        return f"{text} **This figure is impossible on this machine**: {sentences}"
    return text


def conclusion(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> str:
    """What the reader may take away, and what not."""
    if run.performance is None:
        return "There is no performance test in this run."
    verdict, _ = effective_verdict(run.performance)
    problems = [finding.title for finding in findings if finding.severity == "problem"]
    departs, reserved = len(departures(rules)), reservation(rules)
    kept = "No departure from the official rules was found."
    if reserved:
        kept = f"The rules that could be checked are kept; {reserved}."
    return " ".join(
        [
            f"LoadGen's verdict is {plain(verdict)}.",
            f"{count(len(problems), 'problem')} found: {'; '.join(problems)}."
            if problems
            else "No problem was found in the records.",
            f"With {departs} departures from the official rules the figures describe this machine "
            "and this configuration and are not an MLPerf result."
            if departs
            else kept,
        ]
    )
