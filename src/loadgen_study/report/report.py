"""The report, section by section: what analysis.ipynb shows, one displayable a section."""

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from loadgen_study.analysis.early_stopping import judged
from loadgen_study.analysis.metrics import metrics_table
from loadgen_study.findings import finding
from loadgen_study.findings.collect import findings_of
from loadgen_study.findings.finding import Finding
from loadgen_study.report import (
    anatomy,
    first_screen,
    glossary,
    next_steps,
    quality,
    sweep_limits,
    tables,
    text,
    text_extra,
)
from loadgen_study.report.display import Section
from loadgen_study.report.figures import machine as machine_figures
from loadgen_study.report.figures import queries as queries_figures
from loadgen_study.report.figures import runs as runs_figures
from loadgen_study.report.figures.overview import overview
from loadgen_study.report.figures.what_if import what_if
from loadgen_study.report.sections import throughput
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules import published, rule
from loadgen_study.rules.conformance import rules_of
from loadgen_study.rules.rule import Rule
from loadgen_study.runs import compare
from loadgen_study.runs.compare import Digest
from loadgen_study.runs.peak import peak_table
from loadgen_study.runs.quality import compared, tuned
from loadgen_study.runs.repeats import repeats_table
from loadgen_study.runs.served import served_table
from loadgen_study.runs.sweep import points_table, sweep_table
from loadgen_study.runs.tuning import tune_table
from loadgen_study.words import visible

PICTURE = "benchmark_results_visualization.png"


def _by_kind(sweep: pd.DataFrame) -> list[pd.DataFrame]:
    """The rates of a sweep, and apart from them its numbers of queries at once.

    Those have no limits and are all due at 0 s: their verdict, goodput and TTFT say nothing.
    """
    kinds = {
        kind: sweep[sweep["kind"] == kind]
        .dropna(axis=1, how="all")
        .drop(columns="kind")
        .rename(columns={"offered": title})
        for kind, title in (("rate", "offered, queries/s"), ("concurrency", "queries at once"))
    }
    at_once = kinds["concurrency"]
    says_nothing = [name for name in at_once if name.startswith(("ttft", "latency"))]
    lacking = ["verdict", "goodput_per_s", *says_nothing]
    kinds["concurrency"] = at_once.drop(columns=lacking, errors="ignore")
    return [table for table in kinds.values() if len(table)]


class Report:
    """A run's report. Each section is made when it is asked for; what several need, once.

    Args:
        others: runs to compare it with.
    """

    def __init__(self, run: Run, others: Sequence[Digest] = ()) -> None:
        self.run = run
        self._others = list(others)

    @cached_property
    def rules(self) -> list[Rule]:
        """The official rules as the run keeps them."""
        return rules_of(self.run)

    @cached_property
    def findings(self) -> list[Finding]:
        """What the data say."""
        return findings_of(self.run)

    @property
    def _test(self) -> Test | None:
        return self.run.performance

    # The sections, in the order of the report ----------------------------------------------------
    def headline(self) -> Section:
        """What ran where, and how it went."""
        return Section(first_screen.headline(self.run))

    def summary(self) -> Section:
        """Verdicts, facts against their limits, one picture, and what to ask next."""
        facts = first_screen.screen(self.run, self.rules, self.findings)
        after, test = first_screen.next_commands(self.run), self._test
        if test is None or test.latencies.empty or not test.result.scenario_traits.judged:
            return Section(facts, after)
        drawn = queries_figures.judged_latencies(test)
        return Section(facts, drawn, first_screen.caption(test), after)

    def what_the_data_say(self) -> Section:
        """Findings, and what to do."""
        if not self.findings:
            return Section("There is nothing to find yet: no test was made.")
        found = finding.table(self.findings)
        nothing = "No finding asks for a change: there is nothing to tune at this load."
        return Section(found, "" if found["To do"].any() else nothing)

    def further_questions(self) -> Section:
        """What else to ask, each with its command."""
        return Section(next_steps.further_commands(self.run))

    def tests(self) -> Section:
        """The tests that the figures rest on, and what another run would give."""
        return Section(
            tables.tests_table(self.run),
            text.repeats_text(self.run),
            repeats_table(self.run),
        )

    def accuracy(self) -> Section:
        """What the answers are worth."""
        return quality.accuracy(self.run)

    def performance(self) -> Section:
        """The figures and the queries; the whole test on one page is kept as a picture."""
        test = self._test
        if test is None:
            return Section("There is no performance test in this run; perf.ipynb makes one.")
        title = f"{self.run.model.name}, {test.result.scenario}: {test.result.verdict}"
        overview(test, visible(title)).savefig(self.run.folder / PICTURE, dpi=110)
        others = queries_figures.not_judged(test)
        captions = [queries_figures.distribution_caption(test, name) for name in others]
        captions += [queries_figures.timeline_caption(test), text.BOUNDS]
        return Section(
            metrics_table(test.metrics), queries_figures.over_test(test), " ".join(captions)
        )

    def throughput(self) -> Section:
        """Rates, whether a queue grew, and the test between its ramp and its drain."""
        if (test := self._test) is None:
            return Section()
        return Section(
            throughput.text(self.run, test),
            queries_figures.arrivals(test),
            queries_figures.load_caption(test),
            throughput.steady_text(test),
            throughput.steady_table(test),
        )

    def latency(self) -> Section:
        """What a query's time is made of, and how long prompts and answers are."""
        if (test := self._test) is None:
            return Section()
        return Section(
            text.latency_text(test),
            queries_figures.lengths(test),
            queries_figures.lengths_caption(test),
        )

    def what_if(self) -> Section:
        """What other limits would come to, by sliders."""
        return what_if(self._test) if self._test else Section()

    def machine(self) -> Section:
        """Batch, KV cache and machine over the test."""
        if (test := self._test) is None:
            return Section()
        return Section(
            text.machine_text(self.run, test),
            machine_figures.over_time(test),
            machine_figures.occupancy_caption(test),
            machine_figures.machine_caption(test.telemetry),
            tables.replicas_table(test),
        )

    def limits(self) -> Section:
        """How far the run is from what the machine can do."""
        if (test := self._test) is None:
            return Section()
        said, found, shares = text.limits_text(self.run, test), self.run.roofline, self.run.shares
        if found is None or shares is None:
            return Section(said)
        step_ms = shares.decode.took_ms
        return Section(
            said,
            machine_figures.roofline(found, step_ms),
            machine_figures.roofline_caption(found, step_ms),
            *anatomy.parts(self.run.anatomy),
        )

    def published(self) -> Section:
        """The run compared with published results."""
        if (test := self._test) is None:
            return Section()
        return Section(text.published_text(self.run, test, self.rules), published.results())

    def conformance(self) -> Section:
        """Each official rule."""
        return Section(rule.table(self.rules) if self.rules else None)

    def extra_tests(self) -> Section:
        """Both ways to ask, the peak, the sweep and the tuning."""
        peak, sweep = peak_table(self.run), sweep_table(self.run)
        tuning, served = tune_table(self.run), served_table(self.run)
        if all(table.empty for table in (peak, sweep, tuning, served)):
            return Section("None was made. The commands stand under Further questions.")
        return Section(
            text_extra.served_text(self.run, served),
            served,
            text_extra.peak_text(self.run),
            peak,
            *self._sweep(sweep),
            tuning,
            text_extra.tuning_text(tuning),
            text_extra.tuned_text(self.run, tuning),
            *quality.beside_parts(tuned(self.run)),
        )

    def _sweep(self, sweep: pd.DataFrame) -> list[object]:
        if sweep.empty:
            return []
        limits_ms = self._test.limits_ms if self._test else {"ttft": 0.0, "tpot": 0.0}
        points = points_table(self.run)
        share = judged(self._test.result, "ttft")[1] if self._test else None
        curves = runs_figures.sweep(points, limits_ms, share)
        read = text_extra.sweep_text(points)
        caption = runs_figures.sweep_caption(points, limits_ms)
        against_limits = sweep_limits.limits_parts(self.run, sweep)
        return [read, curves, caption, *_by_kind(sweep), *against_limits]

    def comparison(self) -> Section:
        """This run compared with others; its figures travel in the notebook."""
        others = self._others
        overlaid = runs_figures.overlaid(others)
        return Section(
            text_extra.comparison_text(others),
            compare.figures_table(others) if others else None,
            runs_figures.distributions(overlaid) if overlaid else None,
            runs_figures.distributions_caption(overlaid) if overlaid else None,
            compare.changed_table(others) if others else None,
            *quality.beside_parts(compared(others)),
            compare.digest(self.run) if self._test else None,
        )

    def configuration(self) -> Section:
        """What was asked, and what the engine made of it."""
        return Section(tables.configuration_table(self.run), text.engine_text(self.run))

    def provenance(self) -> Section:
        """What a stranger needs to repeat the run."""
        return Section(next_steps.repeated_by(self.run), tables.provenance_table(self.run))

    def words(self) -> Section:
        """The words of the report, explained."""
        return Section(glossary.table())
