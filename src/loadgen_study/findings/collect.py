"""All findings of a run."""

from collections.abc import Mapping

from loadgen_study.analysis.anatomy import Placed
from loadgen_study.findings.finding import FINDINGS, SEVERITIES, Finding
from loadgen_study.results.run import Run


def findings_of(run: Run) -> list[Finding]:
    """All that the performance test and the accuracy test show, problems first."""
    found = find(given_by(run))
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def given_by(run: Run) -> dict[str, object]:
    """What findings may need, by name, as far as the run has it.

    Returns:
        run, accuracy and engine (their facts); of the performance test: test, queries (the test, if
        it has any), steps and telemetry (tables), placed (the queries by their steps, where they
        arrive one by one), shares (of the machine's limits) and impossible (sentences).
    """
    given: dict[str, object] = {"run": run, "accuracy": run.accuracy, "engine": run.engine}
    if test := run.performance:
        given |= {"test": test, "queries": None if test.latencies.empty else test}
        tables = {"steps": test.steps, "telemetry": test.telemetry}
        given |= {name: table for name, table in tables.items() if not table.empty}
        given |= {"impossible": run.impossible or None, "shares": run.shares}
        by_one = not test.result.scenario_traits.at_once
        if run.engine and by_one and isinstance(test.placed, Placed):
            given["placed"] = test.placed
    return {name: value for name, value in given.items() if value is not None}


def find(given: Mapping[str, object]) -> list[Finding]:
    """The results of all findings whose needs are given."""
    able = [(needs, make) for needs, make in FINDINGS.values() if set(needs) <= given.keys()]
    found = [make(*(given[name] for name in needs)) for needs, make in able]
    return [one for one in found if one]
