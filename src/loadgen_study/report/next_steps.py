"""The next questions to ask of a run, each with a whole command that answers it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen_study.findings.overload import overloaded
from loadgen_study.findings.queries import broken_limits
from loadgen_study.results.run import Run

FIRST = 3  # on the first screen
BEFORE = "From the project's folder, with its environment active (`source .venv/bin/activate`):"


@dataclass(frozen=True)
class Step:
    """A question and the command that answers it."""

    question: str
    command: str


def steps(run: Run) -> list[Step]:
    """What to ask next, what matters most first."""
    return [*_unfinished(run), *_rate(run), *_answers(run), *_again(run), *_beside(run)]


def commands(asked: Sequence[Step]) -> str:
    """Steps as Markdown; the commands as they are to be pasted."""
    return "\n\n".join(f"**{step.question}**\n\n```\n{step.command}\n```" for step in asked)


def first_commands(run: Run) -> str:
    """The questions that matter most, for the first screen."""
    return f"{BEFORE}\n\n{commands(steps(run)[:FIRST])}"


def further_commands(run: Run) -> str:
    """The other questions, and how this run is repeated."""
    again = Step("How is this very run repeated?", f"make report PARAMS={_file(run)}")
    return commands([*steps(run)[FIRST:], again])


def repeated_by(run: Run) -> str:
    """The command that repeats a run, in a sentence."""
    return f"The same run again: `make report PARAMS={_file(run)}`."


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
        question = "Make the test again that did not end" if cut else "How fast is it?"
        return [Step(question, _report(run, ""))]
    return [] if run.accuracy else [Step("Are the answers any good?", _report(run, ""))]


def _rate(run: Run) -> list[Step]:
    """The peak, or what lies around it."""
    test = run.performance
    if test is None or not test.result.complete:
        return []
    if run.peak is None:
        server = test.result.scenario_traits.limited
        slow = server and (overloaded(test) or bool(broken_limits(test)))
        question = "Which rate keeps the limits?" if slow else "How much can this machine do?"
        scenario = () if server else ("scenario Server",)
        if not server:
            question = "Which rate of queries keeps the limits of Server?"
        return [Step(question, _report(run, "peak", *scenario, "target_qps auto"))]
    if run.finished_tests("sweep/*") or not run.peak.highest_valid_qps:
        return []
    rates = ", ".join(f"{run.peak.highest_valid_qps * share:.2g}" for share in (0.4, 0.7, 1))
    question = "How does latency grow with the rate?"
    return [Step(question, _report(run, "sweep", f"sweep_qps '[{rates}]'"))]


def _answers(run: Run) -> list[Step]:
    """Why the answers are worse, or what they are to be held against."""
    if run.accuracy is None:
        return []
    verdict, dtype = run.accuracy.verdict, run.model.dtype
    status = verdict.status
    if status == "NO BASELINE":
        if run.dataset.samples < run.dataset.total_samples:
            changed = _report(run, "all", "num_samples 0")
            return [Step("Are the answers any good, over all samples?", changed)]
        command = f"vllm-loadgen baseline --params {_file(run)}"
        return [Step("What would full precision score?", command)]
    open_ = status == "INCONCLUSIVE" and not verdict.undecided
    if (status == "FAIL" or open_) and dtype not in (None, "float32"):
        changed = _report(run, "float32", "dtype float32")
        return [Step(f"Is {dtype} to blame for the answers?", changed)]
    return []


def _again(run: Run) -> list[Step]:
    if run.performance is None or len(run.repeats("performance")) > 1:
        return []
    return [Step("What would another run give?", _report(run, "thrice", "repeats 3"))]


def _beside(run: Run) -> list[Step]:
    """A tuning, and a comparison with another run."""
    if run.performance is None:
        return []
    here = run.display_path()
    other = Path(here).parent / "OTHER"
    runs = shlex.quote(f"[{here}, {other}]")
    found = [Step("How does it compare with another run?",
                  f"papermill notebooks/analysis.ipynb both.ipynb -p runs {runs}")]  # fmt: skip
    batches = not run.params.scenario_traits.one_by_one and run.params.engine_traits.runs_model
    batches &= run.params.engine_traits.started_here
    if batches and not (run.folder / "tune").is_dir():
        limits = "tune '{max_num_seqs: [8, 64]}'"
        found.append(Step("Would other batch limits be faster?", _report(run, "tuned", limits)))
    return found
