"""The report, section by section: what analysis.ipynb shows, one displayable a section."""

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from loadgen_study.analysis.early_stopping import judged_share
from loadgen_study.analysis.metrics import latencies_table, rates_table
from loadgen_study.findings import finding
from loadgen_study.findings.collect import findings_of
from loadgen_study.findings.finding import Finding
from loadgen_study.prose import render
from loadgen_study.report import first_screen, next_steps
from loadgen_study.report.display import Section
from loadgen_study.report.figures import machine as machine_figures
from loadgen_study.report.figures import queries as queries_figures
from loadgen_study.report.figures import runs as runs_figures
from loadgen_study.report.figures.overview import overview
from loadgen_study.report.figures.what_if import what_if
from loadgen_study.report.page import embedded
from loadgen_study.report.sections import (
    accuracy,
    anatomy,
    answers,
    comparison,
    concurrency,
    configuration,
    latency,
    limits,
    machine,
    peak,
    previous,
    provenance,
    rules,
    served,
    sizing,
    sweep,
    tests,
    throughput,
    tuning,
)
from loadgen_study.report.sections import published as published_section
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.rules import published
from loadgen_study.rules.conformance import rules_of
from loadgen_study.rules.rule import Rule
from loadgen_study.runs import compare
from loadgen_study.runs.compare import Digest
from loadgen_study.runs.curve_points import NamedPoint
from loadgen_study.runs.peak import peak_table
from loadgen_study.runs.quality import compared, tuned
from loadgen_study.runs.repeats import repeats_table
from loadgen_study.runs.served import served_table
from loadgen_study.runs.sweep import points_table, sweep_table
from loadgen_study.words import visible

PICTURE = "benchmark_results_visualization.png"


class Report:
    """A run's report. Each section is made when it is asked for; what several need, once.

    Args:
        others: runs to compare it with. points: of other curves, to compare its own with.
    """

    def __init__(
        self, run: Run, others: Sequence[Digest] = (), points: Sequence[NamedPoint] = ()
    ) -> None:
        self.run = run
        self._others, self._points = list(others), list(points)

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
            return Section("No findings: no test has finished.")
        found = finding.table(self.findings)
        nothing = "No finding asks for a change: there is nothing to tune at this load."
        return Section(found, nothing if self._test and not found["To do"].any() else "")

    def further_questions(self) -> Section:
        """What else to ask, each with its command."""
        return Section(next_steps.further_commands(self.run))

    def tests(self) -> Section:
        """The tests that the figures rest on, and what another run would give."""
        return Section(
            tests.tests_table(self.run),
            tests.repeats_text(self.run),
            repeats_table(self.run),
        )

    def accuracy(self) -> Section:
        """The quality of the answers."""
        return accuracy.section(self.run)

    def performance(self) -> Section:
        """The figures and the queries; the whole test on one page is kept as a picture."""
        test = self._test
        if test is None:
            return Section()
        title = f"{self.run.model.name}, {test.result.scenario}: {test.result.verdict}"
        overview(test, visible(title)).savefig(self.run.folder / PICTURE, dpi=110)
        others = queries_figures.not_judged(test)
        captions = [queries_figures.distribution_caption(test, name) for name in others]
        captions += [queries_figures.timeline_caption(test)]
        return Section(
            rates_table(test.metrics),
            latencies_table(test.metrics),
            render("report/sections/performance"),
            queries_figures.over_test(test),
            " ".join(captions),
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
            latency.text(test),
            queries_figures.lengths(test),
            queries_figures.lengths_caption(test),
        )

    def what_if(self) -> Section:
        """The results under other limits, by sliders."""
        test = self._test
        return what_if(test) if test and test.result.scenario_traits.limited else Section()

    def machine(self) -> Section:
        """Batch, KV cache and machine over the test."""
        if (test := self._test) is None:
            return Section()
        return Section(
            machine.text(self.run, test),
            machine_figures.over_time(test),
            machine_figures.occupancy_caption(test),
            machine_figures.machine_caption(test.telemetry),
            machine.replicas_table(test),
        )

    def limits(self) -> Section:
        """How far the run is from what the machine can do."""
        if self._test is None:
            return Section()
        said, found, shares = limits.text(self.run), self.run.roofline, self.run.shares
        if found is None or shares is None:
            return Section(said)
        step_ms = shares.decode.took_ms
        return Section(
            said,
            machine_figures.roofline(found, step_ms),
            machine_figures.roofline_caption(found, step_ms),
            *anatomy.parts(self.run.anatomy, self.run.counted_steps),
        )

    def published(self) -> Section:
        """The run compared with published results."""
        if (test := self._test) is None:
            return Section()
        return Section(
            published_section.text(self.run, test, self.rules),
            published.results(self.run.params.rules),
        )

    def conformance(self) -> Section:
        """Each official rule."""
        return Section(rules.text(self.rules), *rules.tables(self.rules))

    def extra_tests(self) -> Section:
        """Over HTTP and in process, the peak, the sweep and the tuning."""
        both_ways = served_table(self.run)
        return Section(
            served.text(self.run, both_ways),
            both_ways,
            peak.text(self.run),
            peak_table(self.run),
            *self._sweep(sweep_table(self.run)),
            *sizing.parts(self.run),
            *tuning.parts(self.run),
            *answers.parts(tuned(self.run)),
        )

    def _sweep(self, table: pd.DataFrame) -> list[object]:
        if table.empty:
            return []
        limits_ms = self._test.limits_ms if self._test else {"ttft": 0.0, "tpot": 0.0}
        share = judged_share(self._test.result) if self._test else None
        points, limits = points_table(self.run), sweep.limits_table(self.run, table)
        loops = concurrency.parts(
            self.run, table, limits, self.rules, concurrency.Others(self._others, self._points)
        )
        rates = table[table["kind"] == "rate"]
        at_rates: list[object] = []
        if not rates.empty:
            at_rates = [
                sweep.text(points),
                runs_figures.sweep(points, limits_ms, share),
                runs_figures.sweep_caption(points, limits_ms),
                sweep.table(rates),
            ]
        return [*at_rates, *loops, *sweep.limits_parts(limits)]

    def comparison(self) -> Section:
        """This run compared with others; its figures travel in the notebook."""
        others, digest = self._others, compare.digest(self.run) if self._test else None
        if not others:
            return Section(*previous.parts(self.run), digest)
        overlaid = runs_figures.overlaid(others)
        return Section(
            comparison.text(others),
            compare.figures_table(others),
            compare.origins_table(others),
            runs_figures.distributions(overlaid) if overlaid else None,
            runs_figures.distributions_caption(overlaid) if overlaid else None,
            compare.changed_table(others),
            *answers.parts(compared(others)),
            digest,
        )

    def configuration(self) -> Section:
        """What was asked, and what the engine made of it."""
        return Section(configuration.table(self.run), configuration.text(self.run))

    def provenance(self) -> Section:
        """What a stranger needs to repeat the run."""
        return Section(
            provenance.text(self.run),
            provenance.methods(self.run, self.rules),
            provenance.table(self.run),
        )

    def words(self) -> Section:
        """The words of the report, explained; those of other scorers left out."""
        titles = " ".join(metric.title for metric in self.run.task.scorer.metrics).lower()
        other = [word for word in ("rouge", "exact match") if word not in titles]
        rows = embedded("words.md").splitlines()
        kept = [row for row in rows if not row.lower().startswith(tuple(f"| {w} |" for w in other))]
        return Section("\n".join(kept))
