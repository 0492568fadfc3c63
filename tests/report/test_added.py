"""A finding and a rule that one file adds, and where a reader finds them."""

from collections.abc import Iterator

import pytest
from helpers import RESULT, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams, Test
from loadgen_study.findings.finding import FINDINGS, Found, finding
from loadgen_study.report.report import Report
from loadgen_study.rules.rule import JUDGES, Case, Rule, departures, judges
from loadgen_study.runs.conditions import conditions_of


@pytest.fixture
def report(tmp_path):
    """Of a run with a performance test, with one more finding and one more rule."""
    findings, rules = dict(FINDINGS), list(JUDGES)

    @finding("odd-queries", "note", "An odd test")
    def odd(test: Test) -> Found:
        queries = len(test.latencies)
        return (f"{queries} queries", "") if queries % 2 else None

    @finding("untold", needs=("steps",))
    def untold(steps: object) -> Found:
        raise AssertionError("this run has no steps")

    @judges("engine")
    def colour(case: Case) -> Iterator[Rule]:
        yield Rule("colour", "Colour of the machine", "green", "blue", False)

    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, seed_records(queries=21))
    yield Report(Run.open(folder))
    FINDINGS.clear()
    FINDINGS.update(findings)
    JUDGES[:] = rules


def test_a_finding_is_listed_with_its_id(report):
    assert "An odd test" in report.what_the_data_say().parts[0]["Finding"].tolist()
    assert "odd-queries" in [one.id for one in report.findings]


def test_a_rule_is_in_the_table_and_among_what_makes_a_run_unofficial(report):
    _, table, *_ = report.conformance().parts
    assert table.loc["Colour of the machine", "Status"] == "✗ not met"
    assert f"{len(departures(report.rules))} rules not met" in report.summary().parts[0]
    assert conditions_of(report.run).departures["colour"] == "Colour of the machine"


def test_two_findings_have_two_ids(report):
    with pytest.raises(ValueError, match="there is another finding odd-queries"):
        finding("odd-queries", needs=())(lambda: None)
