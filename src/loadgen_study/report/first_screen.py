"""The report's first screen: verdicts, facts against their limits, and the next commands."""

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from loadgen_study.analysis.early_stopping import judged_share
from loadgen_study.findings.finding import Finding
from loadgen_study.findings.overload import overloaded
from loadgen_study.findings.queries import broken_limits
from loadgen_study.prose import fragment, render
from loadgen_study.report.badges import as_a_result, joined, named, not_met, quality, speed
from loadgen_study.report.figures.queries import short
from loadgen_study.report.first_facts import facts, judged_value
from loadgen_study.report.next_steps import FIRST, steps
from loadgen_study.report.page import embedded
from loadgen_study.report.sections import subject
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.rule import NOT_VERIFIED, Rule, departures
from loadgen_study.rules.verdict import effective_verdict
from loadgen_study.words import count, per_s, say_ms

NOT_IN_SHORT = ("Efficiency", "Confidence", "MLPerf rules")
FOOTNOTE = f"{NOT_VERIFIED}."


# The screen --------------------------------------------------------------------------------------
def headline(run: Run) -> str:
    """What ran where and how it went; then with what and when. Markdown."""
    test, data, traits = run.performance, run.dataset, run.params.engine_traits
    built_in, begun = data.name == "embedded", test.result.started_at if test else ""
    samples = count(data.samples, run.task.subject if built_in else "sample")
    facts = [
        subject.engine(run),
        subject.devices(run),
        run.model.dtype if traits.runs_model else None,
        test and test.result.scenario,
        samples if built_in else f"{samples} of {data.name}",
        f"{datetime.fromisoformat(begun):%-d %b %Y}" if begun else None,
    ]
    title = f"{_subject(run)}{_outcome(run)}"
    return render("report/sections/headline", title=title, facts=list(filter(None, facts)))


def screen(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> Markup:
    """Verdicts and facts, HTML."""
    return fragment(
        "report/sections/first_screen",
        style=Markup(embedded("first_screen.css").strip()),
        badges=[speed(run), quality(run), *as_a_result(rules)],
        facts=facts(run, rules, findings),
        footnote=FOOTNOTE if rules and not departures(rules) else "",
    )


def lines(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> list[str]:
    """The same for a console: title, verdicts, latencies, load, throughput, quality and doubts."""
    badges = [speed(run), quality(run), *as_a_result(rules)]
    shown = [
        f"{one.label}: {one.value} {one.unit}" + (f" ({joined(*one.notes)})" if one.notes else "")
        for one in facts(run, rules, findings)
        if not one.label.startswith(NOT_IN_SHORT)
        or (one.label == "Confidence" and one.kind == "bad")
    ]
    return [f"{_subject(run)}{_outcome(run)}", "; ".join(one.text for one in badges), *shown]


def next_commands(run: Run) -> Markup:
    """The commands that matter most, HTML."""
    return fragment("report/sections/next_commands", steps=steps(run)[:FIRST])


def caption(test: Test) -> str:
    """What the picture shows."""
    names = " and ".join(short(name) for name in test.result.scenario_traits.judged)
    against = ", against the limits" if any(test.limits_ms.values()) else ""
    return f"{names} of {count(test.metrics.samples, 'query')}{against}"


# The headline ------------------------------------------------------------------------------------
def _subject(run: Run) -> str:
    """The model and the machine, in short."""
    gpus, traits = run.environment.gpus, run.params.engine_traits
    what = run.model.name if traits.runs_model else f"{run.params.engine} engine (no model)"
    if not traits.started_here:
        return f"{what} on {count(len(run.params.base_url), 'server')}"
    if gpus:
        return f"{what} on {run.devices} x {gpus[0].name}"
    return f"{what} on {count(run.environment.cpu.cores, 'CPU core')}"


def _outcome(run: Run) -> str:
    """How the performance test ended: the part of the title behind the machine."""
    test = run.performance
    if test is None:
        return ": speed not measured"
    if not test.result.complete:
        return f": test {test.result.status}"
    verdict, traits = effective_verdict(test), test.result.scenario_traits
    if verdict.why or not test.metrics.completed:
        return f": {verdict.why or 'no query was answered'}"
    if traits.at_once:
        return f" completes {per_s(test.metrics.samples_per_s, 2)}, all due at once"
    if traits.one_by_one:
        label, latency_ms, _ = judged_value(test, "latency", judged_share(test.result))
        return f" answers one query at a time, {label} latency {say_ms(latency_ms)}"
    rate, broken = per_s(test.load.arrivals_per_s, 2), broken_limits(test)
    if overloaded(test):
        return f" is overloaded at {rate}"
    if broken:
        return f" exceeds the {named(broken)} limit at {rate}"
    if not any(test.limits_ms.values()):
        return f" completes {rate}, no latency limit"
    if verdict.status == "VALID":
        return f" meets the latency limits at {rate}"
    return f" at {rate}: {joined(*not_met(test)) or verdict.status}"
