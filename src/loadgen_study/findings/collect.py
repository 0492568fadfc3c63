"""All findings of a run."""

from dataclasses import replace

from loadgen_study.findings.answers import answers
from loadgen_study.findings.finding import Finding, by_severity
from loadgen_study.findings.queries import query_findings
from loadgen_study.findings.replicas import straggler_finding
from loadgen_study.findings.steadiness import steadiness_findings
from loadgen_study.findings.steps import SMALLER_BATCH, step_findings
from loadgen_study.findings.system import client_finding, system_findings
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test

LARGER_BATCH = "raise max_num_seqs"


def findings_of(run: Run) -> list[Finding]:
    """All that the performance test and the accuracy test show, problems first."""
    found = _of_performance(run, run.performance) if run.performance else []
    if of_answers := answers(run):
        found = [of_answers, *found]
    return by_severity(found)


def _of_performance(run: Run, test: Test) -> list[Finding]:
    asks_server = run.params.engine == "openai"
    of_system = system_findings(test.steps, test.telemetry, run.params.here and asks_server)
    if asks_server and (client := client_finding(test.telemetry)):
        of_system.append(client)
    of_pace = steadiness_findings(test, run.engine)
    of_steps = step_findings(test, run.engine)
    if of_replica := straggler_finding(test):
        of_system.append(of_replica)
    of_queries = query_findings(test, run.impossible)
    return agreeing([*of_queries, *of_system, *of_pace, *of_steps])


def agreeing(found: list[Finding]) -> list[Finding]:
    """Where fewer queries at once are asked for, the others do not ask for more."""
    if all(one.title != SMALLER_BATCH for one in found):
        return found
    return [replace(one, action="") if LARGER_BATCH in one.action.lower() else one for one in found]
