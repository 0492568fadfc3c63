"""The report's first screen: both verdicts, and five questions with their answers; Markdown."""

import math
from collections.abc import Sequence

from loadgen_study.analysis.early_stopping import judged
from loadgen_study.analysis.percentiles import lacking, percentile, say_tail, upper_bound
from loadgen_study.findings.answers import said
from loadgen_study.findings.finding import Finding, doubts
from loadgen_study.findings.overload import issued_per_s, offered, overloaded
from loadgen_study.findings.queries import broken_limits, early_stopping, limit
from loadgen_study.findings.validity import what_would_make_valid
from loadgen_study.prose import plain
from loadgen_study.report.next_steps import first_commands
from loadgen_study.report.sections import limits, subject
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules.rule import PERCENTILE, Rule, departures, unchecked, undecided
from loadgen_study.rules.verdict import effective_verdict, how_official
from loadgen_study.runs.peak import lowest_that_fails, peak_test
from loadgen_study.words import count, per_s, say_ms

# Queries that all arrive within so small a part of a test were there together.
AT_ONCE_SHARE = 0.1
LIMITED = {"ttft": "First token (TTFT)", "tpot": "Each next token (TPOT)"}


def headline(run: Run, rules: Sequence[Rule]) -> str:
    """Model, machine and both verdicts, and whether they are official; what was asked of it."""
    named = f"{plain(run.model.name)} on {plain(subject.devices(run))}"
    official = f" ({plain(how_official(rules))})" if rules else ""
    verdicts = f"speed {plain(_speed(run))}, accuracy {_accuracy(run)}"
    return f"## {named}: {verdicts}{official}\n\n{subject.measured(run)}"


def _speed(run: Run) -> str:
    return effective_verdict(run.performance).text if run.performance else "not measured"


def _accuracy(run: Run) -> str:
    if run.accuracy is None:
        return "not tested"
    status = run.accuracy.verdict.status
    return "not judged" if status == "NO BASELINE" else status


def answers(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> str:
    """How fast, how good, how far from the limit, whether to trust it, and what next."""
    asked = {
        "How fast?": how_fast(run),
        "How good?": how_good(run),
        "How far from the limit?": how_far(run),
        "Can I trust it?": trust(run, rules, findings),
    }
    blocks = [f"### {title}\n\n" + "\n".join(f"- {line}" for line in lines)
              for title, lines in asked.items()]  # fmt: skip
    return "\n\n".join([*blocks, f"### What next?\n\n{first_commands(run)}"])


# How fast? ----------------------------------------------------------------------------------
def how_fast(run: Run) -> list[str]:
    """The load or the rate, the latencies against their limits, and the most it can do."""
    test = run.performance
    if test is None:
        return ["Not measured: this run has no performance test."]
    if test.latencies.empty:
        return [f"Nothing was measured: the test was {test.result.status} before its first query."]
    lines = [*_peak(run), _load(test)]
    lines += [_latency(test, name) for name in LIMITED]
    if run.peak is None:
        lines += [*_most(test), *_all_at_once(run)]
    lines += [f"To be VALID: {plain(cure)}" for cure in _cures(test)]
    return [line for line in lines if line]


def _cures(test: Test) -> list[str]:
    """What would make it valid; of a limit that is exceeded the lines above say by how much."""
    if effective_verdict(test).status == "VALID":
        return []
    broken = broken_limits(test)
    told = [f"{name}-limit" for name in broken]
    others = [cure for id, cure in what_would_make_valid(test).items() if id not in told]
    first = limit(test, broken[0]) if broken else None
    return [first.action, *others] if first else others


def _peak(run: Run) -> list[str]:
    """What a search found, first."""
    if (peak := run.peak) is None:
        return []
    at_once = f"All at once (Offline) it answers {peak.offline_samples_per_s:.3g} a second."
    if not peak.highest_valid_qps:
        return [f"**No rate was VALID** in the search. {at_once}"]
    fails = f" ({above})" if (above := lowest_that_fails(run)) else ""
    held = "confirmed by the full test" if peak.confirmed else "not confirmed by a full test yet"
    reached = f"target {per_s(peak.highest_valid_qps, 4)}"
    if test := peak_test(run):
        rate = per_s(test.load.arrivals_per_s)
        reached = f"{rate} arrived, {test.metrics.samples_per_s:.3g} completed, {reached}"
    return [f"**Highest VALID rate: {reached}**{fails}, {held}. {at_once}"]


def _load(test: Test) -> str:
    """What was asked, and what came of it."""
    m, load = test.metrics, test.load
    done = f"all {m.samples:,} answered" if m.completed == m.samples else (
        f"**{m.completed:,} of {m.samples:,} answered**")  # fmt: skip
    tokens = f"{m.tokens_per_s:.1f} output tokens/s over {m.duration_s:.0f} s"
    if test.result.scenario_traits.scheduled:
        asked = test.params.target_qps
        rate = f"{per_s(asked, 4)} asked for, " if not isinstance(asked, str) else ""
        return f"Load: {rate}{load.arrivals_per_s:.3g} arrived, {done}: {tokens}."
    if test.result.scenario_traits.at_once:
        return f"**{per_s(m.samples_per_s)}**, all due at once; {done}: {tokens}."
    return f"One query at a time, {m.samples_per_s:.3g} a second; {done}: {tokens}."


def _latency(test: Test, name: str) -> str:
    """A latency at the percentile that is judged, against its limit; its tail without a limit."""
    known = test.metrics.ttft_ms if name == "ttft" else test.metrics.tpot_ms
    if math.isnan(known.mean):
        return ""
    limit_ms, share = judged(test.result, name)
    if not limit_ms:
        waits = test.result.scenario_traits.at_once and name == "ttft"
        why = "; most of it is waiting, since all are due at 0 s" if waits else ""
        return f"{LIMITED[name]}: mean {say_ms(known.mean)}, {say_tail(known)}; no limit{why}"
    values = test.latencies[f"{name}_ms"]
    if lacks := lacking(known.queries, share):
        at = f"maximum {say_ms(known.max)} ({lacks})"
    else:
        at = f"p{share * 100:g} {say_ms(percentile(values, share))}"
        at += f" (at most {say_ms(upper_bound(values, share))})"
    over = " **exceeded**" if name in broken_limits(test) else ""
    return f"{LIMITED[name]}: {at}, limit {say_ms(limit_ms)}{over}"


def _most(test: Test) -> list[str]:
    """How much more the machine could do, where no search has found it."""
    rate = "The most it can do:"
    if not (test.result.scenario_traits.scheduled and test.result.complete):
        return []
    if not offered(test):
        return [f"{rate} not known; the harness itself reached {per_s(issued_per_s(test), 4)}."]
    if overloaded(test):
        return [
            f"{rate} {per_s(test.load.served_per_s)}, which is less than arrived: a queue "
            "grew, and latencies grow with the length of the test."
        ]
    if broken_limits(test):
        return [f"{rate} not known, and within the limits less than this load."]
    return [f"{rate} not measured; no queue built up at this load."]


def _all_at_once(run: Run) -> list[str]:
    """The rate of an accuracy test that asked for every sample at its start."""
    if not run.finished("accuracy") or run.params.scenario_traits.at_once:
        return []
    test = run.test("accuracy")
    frame = test.latencies
    if test.result.resumed_samples or frame.empty:
        return []
    if frame["scheduled_s"].max() > AT_ONCE_SHARE * frame["done_s"].max():
        return []
    found = test.metrics
    return [
        f"All {count(len(frame), 'sample')} at once (the accuracy test, whatever the latency): "
        f"{per_s(found.samples_per_s)}, {found.tokens_per_s:,.3g} output tokens/s."
    ]


# How good? ----------------------------------------------------------------------------------
def how_good(run: Run) -> list[str]:
    """The verdict on the answers, with what decided it."""
    if run.accuracy is None:
        return ["Not tested: this run has no accuracy test."]
    status = run.accuracy.verdict.status
    mark = "Not judged" if status == "NO BASELINE" else status
    lines = [f"**{mark}**: {plain(said(run))}"]
    fidelity = run.accuracy.fidelity
    if fidelity and fidelity.agreement and fidelity.forced_tokens:
        lines.append(
            f"Token by token it would choose {fidelity.agreement.value:.1%} of the reference's "
            "tokens."
        )
    return lines


# How far from the limit? --------------------------------------------------------------------
def how_far(run: Run) -> list[str]:
    """Shares of what memory and arithmetic allow."""
    test, found, shares = run.performance, run.roofline, run.shares
    if test is None or found is None or shares is None:
        why = limits.no_limits(run)
        return [why if test else "Nothing was measured to be held against the machine's limits."]
    return [f"{one.name}: {one.text}" for one in limits.works(shares, found)]


# Can I trust it? ----------------------------------------------------------------------------
def trust(run: Run, rules: Sequence[Rule], findings: Sequence[Finding]) -> list[str]:
    """Whether the figures hold for this machine, and whether they are an MLPerf result."""
    test = run.performance
    if test is None:
        return ["There are no figures of speed to trust or not."]
    return [_for_this_machine(run, test, findings), *_by_loadgen(test, rules), _as_a_result(rules)]


def _for_this_machine(run: Run, test: Test, findings: Sequence[Finding]) -> str:
    why_not = doubts(list(findings))
    if not test.result.complete:
        why_not = [f"the test was {test.result.status}", *why_not]
    where = "machine" if run.params.engine_traits.started_here else "server"
    if why_not:
        reasons = "; ".join(map(_within, why_not))
        return f"For this {where}: **no**: {plain(reasons)}."
    facts = [f"{test.metrics.duration_s:.0f} s", "no errors"]
    if test.metrics.due_per_s is not None:
        facts.append(f"the harness {say_ms(test.metrics.schedule_delay_ms.mean)} late on average")
    runs = len(run.repeats("performance"))
    facts.append(f"made {runs} times" if runs > 1 else "made once")
    if not run.params.engine_traits.started_here:
        return (
            "For this server: **not known**: whether a prefix cache shortened the prompts was not "
            f"read. Otherwise {', '.join(facts)}."
        )
    return f"For this machine: **yes**: {', '.join(facts)}."


def _by_loadgen(test: Test, rules: Sequence[Rule]) -> list[str]:
    """LoadGen's conditions in a reader's words, and at which percentile the limits were judged."""
    log, (limit_ms, share) = test.result.loadgen_results, judged(test.result, "ttft")
    asked = {"long enough": log.min_duration_met, "queries enough": log.min_queries_met}
    if limit_ms and test.result.complete:
        judged_at = f"p{share * 100:g}{_official_percentile(rules)}"
        asked[f"limits kept at {judged_at}"] = not broken_limits(test)
        asked["queries enough to trust that (early stopping)"] = _early_stopping(test)
    said = [f"{name} {'yes' if met else '**no**'}" for name, met in asked.items()
            if met is not None]  # fmt: skip
    return [f"By LoadGen's conditions: {', '.join(said)}."] if said else []


def _early_stopping(test: Test) -> bool | None:
    """By LoadGen's log; else by the count, which broken limits leave open."""
    if (met := test.result.loadgen_results.early_stopping_met) is not None:
        return met
    return None if broken_limits(test) else early_stopping(test) is None


def _official_percentile(rules: Sequence[Rule]) -> str:
    """The one that the rules ask for, where it is another."""
    wanted = [rule.least for rule in departures(rules) if rule.id == PERCENTILE and rule.least]
    return f" (the rules ask for p{wanted[0] * 100:g})" if wanted else ""


def _as_a_result(rules: Sequence[Rule]) -> str:
    broken, open_ = departures(rules), unchecked(rules)
    left = f"; {count(len(open_), 'rule')} not checked" if open_ else ""
    if unsure := undecided(rules):
        left += f"; undecided: {', '.join(plain(_within(rule.title)) for rule in unsure)}"
    if not broken:
        kept = f"every rule that was checked is kept{left}"
        return f"As an MLPerf result: {kept}; {plain(how_official(rules))}."
    names = ", ".join(plain(_within(rule.title)) for rule in broken)
    return f"As an MLPerf result: **no**: {count(len(broken), 'rule')} not met ({names}){left}."


def _within(title: str) -> str:
    """A title within a sentence: "LoadGen" keeps its capitals."""
    return title[:1].lower() + title[1:] if title.split(" ")[0].istitle() else title
