"""The report's first screen: verdicts, facts against their limits, and the next commands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from markupsafe import Markup

from loadgen_study.analysis.anatomy import Anatomy
from loadgen_study.analysis.early_stopping import judged
from loadgen_study.analysis.percentiles import PERCENTILES, lacking, percentile, tail, upper_bound
from loadgen_study.analysis.repeats import spread
from loadgen_study.facts.results import Metrics
from loadgen_study.facts.scores import AccuracyVerdict
from loadgen_study.findings.answers import loss
from loadgen_study.findings.finding import Finding, doubts
from loadgen_study.findings.overload import issued_per_s, offered, overloaded
from loadgen_study.findings.queries import broken_limits, early_stopping
from loadgen_study.prose import fragment, render
from loadgen_study.report.figures.queries import short
from loadgen_study.report.next_steps import FIRST, steps
from loadgen_study.report.page import embedded
from loadgen_study.report.sections import subject
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.rule import Rule, departures, reservation, unchecked, undecided
from loadgen_study.rules.verdict import effective_verdict
from loadgen_study.runs.peak import lowest_that_fails
from loadgen_study.words import count, per_s, percent, say_ms, significant

MOST_NAMED = 3  # of the rules that are not met
NOT_IN_SHORT = ("Efficiency", "Confidence", "MLPerf rules")
# MLCommons' messaging guidelines ask for it where no rule is broken.
FOOTNOTE = "Result not verified by MLCommons Association."
Kind = Literal["good", "open", "bad", "plain"]


class Badge(NamedTuple):
    """A verdict in a few words."""

    text: str
    kind: Kind = "plain"


class Bar(NamedTuple):
    """A value, its upper confidence bound and its limit, as shares of the bar's width, 0 to 1."""

    value: float
    bound: float
    limit: float


@dataclass(frozen=True)
class Fact:
    """A large value with what it is held against.

    Attributes:
        value: without its ``unit``. notes: a line each.
    """

    label: str
    value: str
    unit: str
    notes: Sequence[str]
    bar: Bar | None
    kind: Kind


# The screen --------------------------------------------------------------------------------------
def headline(run: Run) -> str:
    """What ran where and how it went; then with what and when. Markdown."""
    test, data, traits = run.performance, run.dataset, run.params.engine_traits
    built_in, begun = data.name == "embedded", test.result.started_at if test else ""
    samples = count(data.samples, run.task.subject if built_in else "sample")
    facts = [
        f"{traits.title or run.params.engine} {(run.engine and run.engine.version) or ''}".strip(),
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
        badges=[_speed(run), _quality(run), *_as_a_result(rules)],
        facts=facts(run, rules, findings),
        footnote=FOOTNOTE if rules and not departures(rules) else "",
    )


def lines(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> list[str]:
    """The same for a console: title, verdicts, latencies, load, throughput, quality and doubts."""
    badges = [_speed(run), _quality(run), *_as_a_result(rules)]
    known = [
        one
        for one in facts(run, rules, findings)
        if not one.label.startswith(NOT_IN_SHORT)
        or (one.label == "Confidence" and one.kind == "bad")
    ]
    shown = [
        f"{one.label}: {one.value} {one.unit}" + f" ({_joined(*one.notes)})" * bool(one.notes)
        for one in known
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


def facts(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> list[Fact]:
    """Latencies, load, throughput, quality, efficiency, confidence and rules, as far as known."""
    test, quality, batch = run.performance, _answers(run), run.batch
    if run.params.scenario_traits.at_once:
        batch = None  # the test is the batch itself
    if test and not test.latencies.empty:
        speed = [*_latencies(test), _load(run, test, batch), _tokens(test, batch)]
        trust = _confidence(run, test, findings)
        return [*speed, *quality, _efficiency(run), trust, *_rules(rules)]
    if batch is None:
        return quality
    rate = per_s(batch.samples_per_s)
    tokens = f"{significant(batch.tokens_per_s)} output tokens/s"
    return [_fact("Batch throughput", rate, tokens, "no latency limit"), *quality]


def _fact(
    label: str, value: str, *notes: str, bar: Bar | None = None, kind: Kind = "plain"
) -> Fact:
    """A fact of a value such as "551 ms", without empty notes."""
    number, _, unit = (value, "", "") if value[:1].isalpha() else value.partition(" ")
    return Fact(label, number, unit, list(filter(None, notes)), bar, kind)


def _bar(value: float, limit: float, bound: float = math.nan) -> Bar | None:
    """A bar as long as the largest of them; None without a limit."""
    bound = value if math.isnan(bound) else bound
    longest = max(value, limit, bound)
    if not limit or not 0 < longest < math.inf:
        return None
    return Bar(value / longest, bound / longest, limit / longest)


def _joined(*notes: str) -> str:
    """Notes on one line, without empty ones."""
    return "; ".join(filter(None, notes))


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
        label, latency_ms, _ = _at(test, "latency", judged(test.result, "ttft")[1])
        return f" answers one query at a time, {label} latency {say_ms(latency_ms)}"
    rate, broken = per_s(test.load.arrivals_per_s, 2), broken_limits(test)
    if overloaded(test):
        return f" is overloaded at {rate}"
    if broken:
        return f" exceeds the {_named(broken)} limit at {rate}"
    if not any(test.limits_ms.values()):
        return f" completes {rate}, no latency limit"
    if verdict.status == "VALID":
        return f" meets the latency limits at {rate}"
    return f" at {rate}: {_joined(*_not_met(test)) or verdict.status}"


def _named(limits: Sequence[str]) -> str:
    return " and ".join(name.upper() for name in limits)


# Verdicts ----------------------------------------------------------------------------------------
def _speed(run: Run) -> Badge:
    """LoadGen's verdict, and why it is not VALID."""
    if (test := run.performance) is None:
        return Badge("Speed: not measured")
    verdict = effective_verdict(test)
    if not test.result.complete:
        return Badge(f"LoadGen: no verdict (test {test.result.status})", "bad")
    if verdict.status == "VALID":
        return Badge("LoadGen: VALID", "good")
    why = verdict.why or ", ".join(_not_met(test))
    return Badge(f"LoadGen: {verdict.status}{f' ({why})' if why else ''}", "bad")


def _not_met(test: Test) -> list[str]:
    """LoadGen's conditions that do not hold."""
    log, broken = test.result.loadgen_results, broken_limits(test)
    too_few = log.min_queries_met is False or (not broken and early_stopping(test) is not None)
    conditions = {
        "overloaded": overloaded(test),
        f"over the {_named(broken)} limit": bool(broken),
        "too short": log.min_duration_met is False,
        "too few queries": too_few,
    }
    return [name for name, fails in conditions.items() if fails]


def _quality(run: Run) -> Badge:
    """The verdict on the answers: a FAIL, else what teacher forcing decides, else the scorer's."""
    if run.accuracy is None:
        return Badge("Quality: not tested")
    status, found = run.accuracy.verdict.status, loss(run)
    if status == "FAIL":
        return Badge(f"Quality: {run.task.scorer.title} FAIL", "bad")
    if found == "some":
        return Badge("Quality: loss measured", "open")
    if found == "none" or status == "PASS":
        return Badge(f"Quality: {'PASS' if found != 'none' else 'no measurable loss'}", "good")
    known = {"NO BASELINE": Badge("Quality: not judged (no matching baseline)")}
    return known.get(status, Badge("Quality: undecided", "open"))


def _as_a_result(rules: Sequence[Rule]) -> list[Badge]:
    """Whether the run may be named with MLPerf, by MLCommons' messaging guidelines."""
    if not rules:
        return []
    if broken := departures(rules):
        return [Badge(f"Not an MLPerf result: {count(len(broken), 'rule')} not met")]
    reasons = _joined(_left(rules), reservation(rules))
    return [Badge(f"Unverified{f' ({reasons})' if reasons else ''}", "open")]


def _left(rules: Sequence[Rule]) -> str:
    """How many rules are neither met nor broken."""
    known = {"not checked": len(unchecked(rules)), "undecided": len(undecided(rules))}
    return _joined(*(f"{number} {name}" for name, number in known.items() if number))


# Latencies ---------------------------------------------------------------------------------------
def _latencies(test: Test) -> list[Fact]:
    """The judged percentiles against their limits; no TTFT where all queries are due at once."""
    traits = test.result.scenario_traits
    names = ["tpot"] if traits.at_once else ["ttft", "tpot"]
    names = [*(name for name in traits.judged if name not in names), *names]
    return [_latency(test, name) for name in names if test.latencies[f"{name}_ms"].notna().any()]


def _latency(test: Test, name: str) -> Fact:
    limit_ms, share = judged(test.result, "tpot" if name == "tpot" else "ttft")
    limit_ms = 0.0 if name == "latency" else limit_ms
    label, at_ms, bound_ms = _at(test, name, share if limit_ms or name == "latency" else None)
    lacks = lacking(int(test.latencies[f"{name}_ms"].count()), share) if limit_ms else ""
    over = name in broken_limits(test)
    return _fact(
        f"{name.upper() if len(name) == 4 else name.capitalize()} {label}",
        say_ms(at_ms),
        f"limit {say_ms(limit_ms)}" if limit_ms else "no limit",
        "" if math.isnan(bound_ms) else f"99 % upper bound {say_ms(bound_ms)}",
        lacks.partition(",")[0],
        f"{significant(1e3 / at_ms, 2)} tokens/s per user" if name == "tpot" and at_ms else "",
        bar=_bar(at_ms, limit_ms, bound_ms),
        kind="bad" if over else "good" if limit_ms and not lacks else "plain",
    )


def _at(test: Test, name: str, share: float | None) -> tuple[str, float, float]:
    """The percentile's name, value and bound; the maximum where the queries do not carry it.

    Args:
        share: the percentile, 0 to 1; None: the highest that the queries carry.
    """
    values = test.latencies[f"{name}_ms"].dropna()
    share = PERCENTILES.get(tail(len(values)) or "") if share is None else share
    if share is None or lacking(len(values), share):
        return "maximum", float(values.max()), math.nan
    return f"p{share * 100:g}", percentile(values, share), upper_bound(values, share)


# Load and throughput -----------------------------------------------------------------------------
def _load(run: Run, test: Test, batch: Metrics | None) -> Fact:
    """Queries/s: what arrived against what the machine can do, or what was completed."""
    m, load, traits = test.metrics, test.load, test.result.scenario_traits
    kind: Kind = "plain" if m.completed == m.samples else "bad"
    done, label = f"{m.completed:,} of {m.samples:,} completed", "Offered load"
    if traits.at_once:
        how = "all due at once, no latency limit"
        return _fact("Batch throughput", per_s(m.samples_per_s), how, done, kind=kind)
    if traits.one_by_one or not math.isfinite(load.arrivals_per_s):
        return _fact("One query at a time", per_s(m.samples_per_s), done, kind=kind)
    rate, shown = load.arrivals_per_s, per_s(load.arrivals_per_s)
    asked = test.params.target_qps
    target = "" if isinstance(asked, str) else f"target {significant(asked, 4)}"
    if test.result.complete and not offered(test):
        issued = f"the harness issued {per_s(issued_per_s(test))}"
        return _fact(label, shown, target, issued, kind="bad")
    if test.result.complete and overloaded(test):
        able, bar = f"capacity {significant(load.served_per_s)}", _bar(rate, load.served_per_s)
        return _fact(label, shown, able, _joined(target, done), bar=bar, kind="bad")
    most = batch.samples_per_s if batch else 0.0
    capacity = f"{percent(rate / most)} of batch throughput {significant(most)}" if most else ""
    if broken := broken_limits(test):
        capacity = f"capacity at the {_named(broken)} limit is lower"
    elif not most and not run.peak:
        capacity = "capacity not measured"
    searched = ""
    if peak := run.peak:
        best, searched = peak.highest_valid_qps, lowest_that_fails(run)
        if peak.confirmed and searched:
            label, done = "Highest VALID load", f"{significant(m.samples_per_s)} completed"
        else:
            tried = count(len(peak.probes), "rate")
            searched = f"VALID up to target {best:.4g}" if best else "none VALID"
            searched = f"{tried} tried: {searched}" if len(peak.probes) > 1 else f"{tried} tried"
    notes = capacity, _joined(target, done), searched
    return _fact(label, shown, *notes, bar=_bar(rate, most), kind=kind)


def _tokens(test: Test, batch: Metrics | None) -> Fact:
    rate, most = test.metrics.tokens_per_s, batch.tokens_per_s if batch else 0.0
    note = f"batch {significant(most)}" if most else ""
    return _fact("Output", f"{significant(rate)} tokens/s", note, bar=_bar(rate, most))


# Quality, efficiency, confidence, rules ----------------------------------------------------------
def _answers(run: Run) -> list[Fact]:
    """Teacher forcing first, then the scorer's gate; nothing where neither judged."""
    if run.accuracy is None or run.accuracy.verdict.status == "NO BASELINE":
        return []
    kind, fidelity, title = _quality(run).kind, run.accuracy.fidelity, run.task.scorer.title
    ratios, gate = _gate(run, run.accuracy.verdict)
    if not fidelity or not fidelity.forced_tokens or not (change := fidelity.logprob_difference):
        return [_fact(f"{title} vs. reference", ratios, gate, kind=kind)]
    span = "" if change.low is None else f" [{change.low:+.4f}, {change.high:+.4f}]"
    of = f"{fidelity.forced_answers:,} of {count(fidelity.answers, 'answer')}"
    notes, value = (f"per token{span}; {of}", f"{title} {ratios}, {gate}"), f"{change.value:+.4f}"
    return [_fact("Quality vs. float32", f"{value} nats", *notes, kind=kind)]


def _gate(run: Run, verdict: AccuracyVerdict) -> tuple[str, str]:
    """The scores as shares of the reference's; the gate, and what would decide it."""
    named = {metric.name for metric in run.task.scorer.by_sample}
    rows = [row for row in verdict.comparisons if row.metric in named and row.decides]
    known = sorted(row.ratio for row in rows)
    end: str = verdict.status
    if end == "INCONCLUSIVE":
        end = f"not decidable with {count(run.dataset.samples, 'sample')}"
    if needed := verdict.samples_needed:
        end += f"; needs about {float(f'{needed:.2g}'):,.0f}"
    shares = list(dict.fromkeys(f"{ratio * 100:.1f}" for ratio in known[:1] + known[-1:]))
    gate = f"gate {run.task.scorer.main.needed}: {end}"
    return f"{' to '.join(shares)} %" if shares else "not decidable", gate


def _efficiency(run: Run) -> Fact:
    """Shares of the machine's limits, by the engine's steps."""
    found, steps = run.shares, run.anatomy
    if found is None or not found.from_steps or math.isnan(found.decode.share):
        why = "the engine does not report its steps" if found else "limits not known"
        return _fact("Efficiency", "not known", why)
    if found.too_low:
        return _fact("Efficiency", "not known", "machine limit measured too low", kind="bad")
    idle = steps.idle_s / steps.whole_s if isinstance(steps, Anatomy) else 0.0
    prefill = "" if math.isnan(found.prefill.share) else f"prefill {percent(found.prefill.share)}"
    return _fact(
        "Efficiency, decode",
        percent(found.decode.share),
        f"of {'compute' if found.decode.computing else 'memory bandwidth'}",
        _joined(
            f"{prefill} of compute" if prefill else "",
            f"{percent(idle)} idle" if round(idle, 2) else "",
        ),
        bar=_bar(found.decode.share, 1.0),
    )


def _confidence(run: Run, test: Test, findings: Sequence[Finding]) -> Fact:
    """Runs, queries, and what disturbed them."""
    runs, m = list(run.repeats("performance").values()), test.metrics
    ended = [] if test.result.complete else [f"test {test.result.status}"]
    why_not = [_within(reason) for reason in doubts(list(findings))] or ended
    varies = spread([each.metrics.tokens_per_s for each in runs]).cv if len(runs) > 1 else math.nan
    return _fact(
        "Confidence",
        f"{len(runs)} runs" if len(runs) > 1 else "single run",
        *(f"! {reason}" for reason in why_not),
        f"{count(m.samples, 'query')} in {significant(m.duration_s)} s",
        "" if math.isnan(varies) else f"tokens/s vary by {percent(varies, 1)} (CV)",
        "" if _cache_known(run, test) else "server's prefix cache: not known",
        kind="bad" if why_not else "plain",
    )


def _cache_known(run: Run, test: Test) -> bool:
    counts = test.result.server
    return run.params.engine_traits.started_here or bool(
        counts and counts.cached_tokens is not None
    )


def _rules(rules: Sequence[Rule]) -> list[Fact]:
    """How many of MLPerf's rules are met; those that are not, first."""
    if not rules:
        return []
    broken, met = departures(rules), sum(rule.met is True for rule in rules)
    names = ", ".join(_within(rule.title) for rule in broken[:MOST_NAMED])
    more = f" and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
    return [
        _fact(
            "MLPerf rules met",
            f"{met} of {len(rules)}",
            f"not met: {names}{more}" if broken else "",
            _left(rules),
            bar=_bar(met, len(rules)),
            kind="bad" if broken else "open" if met < len(rules) else "good",
        )
    ]


def _within(title: str) -> str:
    """A title within a sentence: "LoadGen" keeps its capitals."""
    return title[:1].lower() + title[1:] if title.split(" ")[0].istitle() else title
