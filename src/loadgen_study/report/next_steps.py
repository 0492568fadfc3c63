"""The next questions to ask of a run, each with a whole command that answers it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen_study.analysis import percentiles
from loadgen_study.analysis.early_stopping import queries_needed
from loadgen_study.findings.answers import loss
from loadgen_study.findings.overload import overloaded
from loadgen_study.findings.queries import broken_limits
from loadgen_study.results.run import Run

FIRST = 3  # on the first screen


@dataclass(frozen=True)
class Step:
    """A question and the command that answers it."""

    question: str
    command: str


def steps(run: Run) -> list[Step]:
    """What to ask next, what matters most first: commands that can change this run's result."""
    parts = (_unfinished, _enough, _rate, _answers, _again, _compared, _batch_limits)
    return [step for part in parts for step in part(run)]


def further_commands(run: Run) -> str:
    """The steps that are not on the first screen, as Markdown; empty if it has all."""
    return "\n\n".join(
        f"**{step.question}**\n\n```\n{step.command}\n```" for step in steps(run)[FIRST:]
    )


def _file(run: Run) -> str:
    return shlex.quote(run.display_path("params.yaml"))


def _report(run: Run, suffix: str, *changes: str) -> str:
    """The report of a run like this one but for these changes; the same run without a suffix."""
    name = run.folder.name + (f"-{suffix}" if suffix else "")
    if suffix:
        changes = (*_main_test_alone(run, changes), *changes)
    given = " ".join(f"-p {change}" for change in (*changes, f"run_name {shlex.quote(name)}"))
    return f"vllm-loadgen report --params {_file(run)} {given}"


def _main_test_alone(run: Run, changes: Sequence[str]) -> list[str]:
    """What leaves out the search, the sweep and the tuning that this run was asked for."""
    asked = {"sweep_qps": "'[]'", "sweep_concurrency": "'[]'", "tune": "'{}'"}
    found = [f"{name} {none}" for name, none in asked.items() if getattr(run.params, name)]
    if isinstance(run.params.target_qps, str) and run.peak and run.peak.highest_valid_qps:
        found.append(f"target_qps {run.peak.highest_valid_qps:.4g}")
    names = [change.split()[0] for change in changes]
    return [one for one in found if one.split()[0] not in names]


def _unfinished(run: Run) -> list[Step]:
    """The tests that are missing: the same run_name makes them and reuses the others."""
    if not run.finished(run.performance_name):
        cut = run.performance is not None
        question = "Repeat the unfinished test" if cut else "How fast is it?"
        return [Step(question, _report(run, ""))]
    return [] if run.accuracy else [Step("How good are the answers?", _report(run, ""))]


def _enough(run: Run) -> list[Step]:
    """As many queries as early stopping needs, where nothing else makes the test INVALID."""
    test = run.performance
    if test is None or not test.result.complete or overloaded(test) or broken_limits(test):
        return []
    early, _, share = queries_needed(test.result, test.latencies)
    if len(test.latencies) >= early:
        return []
    needed = max(early, percentiles.queries_needed(share))
    changed = _report(run, "longer", f"min_query_count {needed}")
    return [Step("Is it VALID with enough queries?", changed)]


def _rate(run: Run) -> list[Step]:
    """The peak, or what lies around it."""
    test = run.performance
    if test is None or not test.result.complete:
        return []
    if run.peak is None:
        if not test.result.scenario_traits.limited:
            command = _report(run, "peak", "scenario Server", "target_qps auto")
            return [Step("Which Server load meets the latency limits?", command)]
        slow = overloaded(test) or broken_limits(test)
        question = "Which load meets the limits?" if slow else "What is the highest VALID load?"
        return [Step(question, _report(run, "peak", "target_qps auto"))]
    if run.peak.highest_valid_qps and run.peak.lowest_invalid_qps is None:
        question = "How much more load is VALID?"
        return [Step(question, _report(run, "peak", "target_qps auto"))]
    if run.finished_tests("sweep/*") or not run.peak.highest_valid_qps:
        return []
    rates = ", ".join(f"{run.peak.highest_valid_qps * share:.2g}" for share in (0.4, 0.7, 1))
    question = "How does latency grow with the load?"
    return [Step(question, _report(run, "sweep", f"sweep_qps '[{rates}]'"))]


def _answers(run: Run) -> list[Step]:
    """What decides the quality, or explains a loss."""
    if run.accuracy is None:
        return []
    status, dtype, found = run.accuracy.verdict.status, run.model.dtype, loss(run)
    if status == "INCONCLUSIVE" and (run.accuracy.verdict.undecided or found == "none"):
        return []
    more = run.dataset.samples < run.dataset.total_samples
    if status in ("NO BASELINE", "INCONCLUSIVE") and more:
        command = _report(run, "all", "num_samples 0")
        return [Step("How good are the answers to all samples?", command)]
    if status == "NO BASELINE":
        command = f"vllm-loadgen baseline --params {_file(run)}"
        return [Step("What does float32 score?", command)]
    lower = run.params.engine_traits.runs_model and dtype not in (None, "float32")
    if (status != "PASS" or found == "some") and lower:
        return [Step("Does float32 score higher?", _report(run, "float32", "dtype float32"))]
    return []


def _again(run: Run) -> list[Step]:
    if not run.finished(run.performance_name) or len(run.repeats("performance")) > 1:
        return []
    return [Step("How repeatable is this?", _report(run, "thrice", "repeats 3"))]


def _compared(run: Run) -> list[Step]:
    if not run.finished(run.performance_name):
        return []
    here = run.display_path()
    runs = shlex.quote(f"[{here}, {Path(here).parent / 'OTHER'}]")
    command = f"papermill notebooks/analysis.ipynb both.ipynb -p runs {runs}"
    return [Step("How does it compare with another run?", command)]


def _batch_limits(run: Run) -> list[Step]:
    """A larger batch, where this one was full and queries waited for a place in it."""
    test, engine = run.performance, run.engine
    if test is None or engine is None or test.steps.empty or (run.folder / "tune").is_dir():
        return []
    most, waited = engine.max_num_seqs, test.steps["waiting"].max() > 0
    if not most or not waited or test.steps["running"].max() < most:
        return []
    values = f"tune '{{max_num_seqs: [{2 * most}, {4 * most}]}}'"
    return [Step("Is a larger batch faster?", _report(run, "tuned", values))]
