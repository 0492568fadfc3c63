"""The facts of the first screen: large values, each against its limit or its capacity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loadgen_study.analysis.anatomy import Anatomy
from loadgen_study.analysis.early_stopping import no_limit
from loadgen_study.analysis.percentiles import PERCENTILES, lacking, percentile, tail, upper_bound
from loadgen_study.analysis.repeats import spread
from loadgen_study.facts.results import Metrics
from loadgen_study.facts.scores import AccuracyVerdict
from loadgen_study.findings.finding import Finding, doubts
from loadgen_study.findings.overload import issued_per_s, offered, overloaded
from loadgen_study.findings.queries import broken_limits
from loadgen_study.report.badges import Kind, joined, named, open_rules, quality
from loadgen_study.report.figures.queries import limit_of
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.rule import Rule, departures
from loadgen_study.runs.peak import lowest_that_fails
from loadgen_study.runs.served import MEAN_TTFT, TOKENS, both_ways, difference, figures
from loadgen_study.words import count, listed, per_s, percent, say_ms, significant

MOST_NAMED = 3  # of the rules that are not met


class Bar(NamedTuple):
    """A value, its upper confidence bound and its limit, as shares of the bar's width, 0 to 1."""

    value: float
    bound: float
    limit: float


@dataclass(frozen=True)
class Fact:
    """A large value with what it is compared with.

    Attributes:
        value: without its ``unit``. notes: a line each.
    """

    label: str
    value: str
    unit: str
    notes: Sequence[str]
    bar: Bar | None
    kind: Kind


def facts(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> list[Fact]:
    """Latencies, load, throughput, quality, efficiency, confidence and rules, as far as known."""
    test, answers, batch = run.performance, _answers(run), run.batch
    if run.params.scenario_traits.at_once:
        batch = None  # the test is the batch itself
    if test and not test.latencies.empty:
        speed = [*_latencies(test), _load(run, test, batch), _tokens(test, batch)]
        trust = _confidence(run, test, findings)
        return [*speed, *answers, *_serving(run), _efficiency(run), trust, *_rules(rules)]
    if batch is None:
        return answers
    rate = per_s(batch.samples_per_s)
    tokens = f"{significant(batch.tokens_per_s)} output tokens/s"
    return [_fact("Batch throughput", rate, tokens, "no latency limit"), *answers]


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


# Latencies ---------------------------------------------------------------------------------------
def _latencies(test: Test) -> list[Fact]:
    """The judged percentiles against their limits; no TTFT where all queries are due at once."""
    traits = test.result.scenario_traits
    names = ["tpot"] if traits.at_once else ["ttft", "tpot"]
    names = [*(name for name in traits.judged if name not in names), *names]
    return [_latency(test, name) for name in names if test.latencies[f"{name}_ms"].notna().any()]


def _latency(test: Test, name: str) -> Fact:
    limit_ms, share = limit_of(test, name)
    label, at_ms, bound_ms = judged_value(test, name, share)
    queries = int(test.latencies[f"{name}_ms"].count())
    lacks = lacking(queries, share) if limit_ms and share else ""
    over = name in broken_limits(test)
    return _fact(
        f"{name.upper() if len(name) == 4 else name.capitalize()} {label}",
        say_ms(at_ms),
        f"limit {say_ms(limit_ms)}" if limit_ms else no_limit(test.result),
        "" if math.isnan(bound_ms) else f"99 % upper bound {say_ms(bound_ms)}",
        lacks.partition(",")[0],
        f"{significant(1e3 / at_ms, 2)} tokens/s per user" if name == "tpot" and at_ms else "",
        bar=_bar(at_ms, limit_ms, bound_ms),
        kind="bad" if over else "good" if limit_ms and not lacks else "plain",
    )


def judged_value(test: Test, name: str, share: float | None) -> tuple[str, float, float]:
    """The percentile's name, value and bound; the maximum if there are too few queries for it.

    Args:
        share: the percentile, 0 to 1; None: the highest for which there are enough queries.
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
        return _fact(label, shown, able, joined(target, done), bar=bar, kind="bad")
    most = batch.samples_per_s if batch else 0.0
    capacity = searched = ""
    if broken := broken_limits(test):
        capacity = f"capacity at the {named(broken)} limit is lower"
    elif most:
        share = percent(rate / most)
        capacity = f"{share} of batch throughput {significant(most)} (accuracy test)"
    elif not run.peak:
        capacity = "capacity not measured"
    if peak := run.peak:
        best, searched = peak.highest_valid_qps, lowest_that_fails(run)
        if peak.confirmed and searched:
            label, done = "Highest VALID load", f"{significant(m.samples_per_s)} completed"
        else:
            tried = count(len(peak.probes), "rate")
            searched = f"VALID up to target {best:.4g}" if best else "none VALID"
            searched = f"{tried} tried: {searched}" if len(peak.probes) > 1 else f"{tried} tried"
    notes = capacity, joined(target, done), searched
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
    kind, fidelity, title = quality(run).kind, run.accuracy.fidelity, run.task.scorer.title
    ratios, gate = _gate(run, run.accuracy.verdict)
    if not fidelity or not fidelity.forced_tokens or not (change := fidelity.logprob_difference):
        return [_fact(f"{title} vs. reference", ratios, gate, kind=kind)]
    span = "" if change.low is None else f" [{change.low:+z.4f}, {change.high:+z.4f}]"
    of = f"{fidelity.forced_answers:,} of {count(fidelity.answers, 'answer')}"
    notes, value = (f"per token{span}; {of}", f"{title} {ratios}, {gate}"), f"{change.value:+z.4f}"
    return [_fact("Quality vs. float32", f"{value} nats", *notes, kind=kind)]


def _gate(run: Run, verdict: AccuracyVerdict) -> tuple[str, str]:
    """The scores as shares of the reference's; the gate, and what would decide it."""
    named = {metric.name for metric in run.task.scorer.by_sample}
    rows = [row for row in verdict.comparisons if row.metric in named and row.decides]
    known = sorted(row.ratio for row in rows)
    end: str = verdict.status
    if end == "INCONCLUSIVE":
        end = f"not decidable with {count(run.scored_data.samples, 'sample')}"
    if needed := verdict.samples_needed:
        end += f"; needs about {float(f'{needed:.2g}'):,.0f}"
    shares = list(dict.fromkeys(f"{ratio * 100:.1f}" for ratio in known[:1] + known[-1:]))
    gate = f"gate {run.task.scorer.main.needed}: {end}"
    return f"{' to '.join(shares)} %" if shares else "not decidable", gate


def _serving(run: Run) -> list[Fact]:
    """What a server adds to the mean TTFT; nothing without the same test in process."""
    if (both := both_ways(run)) is None:
        return []
    served, plain = (figures(test) for test in both)
    added = difference(served[MEAN_TTFT], plain[MEAN_TTFT])
    if not added:
        return []
    times = f"{say_ms(served[MEAN_TTFT])} served, {say_ms(plain[MEAN_TTFT])} in process"
    rate = difference(served[TOKENS], plain[TOKENS])
    return [_fact("Serving, mean TTFT", added, times, f"output tokens/s {rate}", "single runs")]


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
        joined(
            f"{prefill} of compute" if prefill else "",
            f"{percent(idle)} idle" if round(idle, 2) else "",
        ),
        bar=_bar(found.decode.share, 1.0),
    )


def _confidence(run: Run, test: Test, findings: Sequence[Finding]) -> Fact:
    """Runs, queries, and what disturbed them."""
    runs, m, counts = list(run.repeats("performance").values()), test.metrics, test.result.server
    cache_known = run.params.engine_traits.started_here or (
        counts is not None and counts.cached_tokens is not None
    )
    ended = [] if test.result.complete else [f"test {test.result.status}"]
    why_not = [_within(reason) for reason in doubts(list(findings))] or ended
    varies = spread([each.metrics.tokens_per_s for each in runs]).cv if len(runs) > 1 else math.nan
    return _fact(
        "Confidence",
        f"{len(runs)} runs" if len(runs) > 1 else "single run",
        *(f"! {reason}" for reason in why_not),
        f"{count(m.samples, 'query')} in {significant(m.duration_s)} s",
        "" if math.isnan(varies) else f"tokens/s vary by {percent(varies, 1)} (CV)",
        "" if cache_known else "server's prefix cache: not known",
        kind="bad" if why_not else "plain",
    )


def _rules(rules: Sequence[Rule]) -> list[Fact]:
    """How many of MLPerf's rules are met; those that are not, first."""
    if not rules:
        return []
    broken, met = departures(rules), sum(rule.met is True for rule in rules)
    names = listed([_within(rule.title) for rule in broken], MOST_NAMED)
    return [
        _fact(
            "MLPerf rules met",
            f"{met} of {len(rules)}",
            f"not met: {names}" if broken else "",
            open_rules(rules),
            bar=_bar(met, len(rules)),
            kind="bad" if broken else "open" if met < len(rules) else "good",
        )
    ]


def _within(title: str) -> str:
    """A title within a sentence: "LoadGen" keeps its capitals."""
    return title[:1].lower() + title[1:] if title.split(" ")[0].istitle() else title
