"""All findings of a run."""

from vllm_loadgen.findings.finding import Finding, by_severity
from vllm_loadgen.findings.queries import query_findings
from vllm_loadgen.findings.steadiness import steadiness_findings
from vllm_loadgen.findings.steps import step_findings
from vllm_loadgen.findings.system import NEIGHBOUR, system_findings
from vllm_loadgen.results.run import Run


def findings_of(run: Run) -> list[Finding]:
    """All that the performance test shows, problems first; empty without one."""
    test = run.performance
    if test is None:
        return []
    of_system = system_findings(test.steps, test.telemetry)
    if run.params.engine == "openai" and run.params.here:
        # The server is no neighbour, and which of the other programs it is, is not known.
        of_system = [found for found in of_system if found.title != NEIGHBOUR]
    of_pace = steadiness_findings(test, run.engine)
    of_steps = step_findings(test, run.engine)
    of_queries = query_findings(test, run.impossible)
    return by_severity([*of_queries, *of_system, *of_pace, *of_steps])
