"""What runs would be refused for, before they are submitted.

Most of it MLCommons' checker finds, in these words (tools/submission/submission_checker, v6.1, in
mlcommons/inference). It does not look at LoadGen's verdict, nor at the engine: the rules do. They
are judged by ``loadgen_study.rules.conformance``, here from a run's logs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadgen_study.benchmarks.record import Suite
from loadgen_study.results.run import Run
from loadgen_study.rules import compliance
from loadgen_study.rules.conformance import engine_departures, is_official, judge
from loadgen_study.rules.rule import Case, Rule, reservation
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness.log import DETAIL, SUMMARY, read_log
from vllm_loadgen.records.result import Result

LOGS = (SUMMARY, DETAIL)


@dataclass(frozen=True)
class Refusal:
    """One thing to refuse: where, the name of the check (or the rule), and its words."""

    path: str
    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.check}: {self.message}"


def place(run: Run) -> str:
    """Where a run belongs in the tree, as the checker names it: suite and scenario."""
    return f"{run.params.rules.suite.folder}/{scenario(run)}"


def scenario(run: Run) -> str:
    """The scenario's folder in the tree."""
    return run.params.rules.submitted_as(run.params.scenario)


def read_run(folder: Path) -> Run:
    """A run that is to be submitted.

    Raises:
        BenchmarkError: if its facts cannot be read, or its tests are not all of this run.
    """
    run = Run.open(folder)
    if not ((folder / "model.json").is_file() and (folder / "dataset.json").is_file()):
        problem = f"{folder} lacks model.json or dataset.json"
        raise BenchmarkError(f"{problem}. Run again in a new folder.")
    audited = [test.folder for test in compliance.required(run.params.rules)]
    for test in filter(run.has, ("performance", "accuracy", *audited)):
        for key in ("benchmark", "scenario"):
            found, wanted = getattr(run.test(test).result, key), getattr(run.params, key)
            if found != wanted:
                raise BenchmarkError(
                    f"{folder} mixes runs: its {test} test has {key} = {found!r}, its "
                    f"params.yaml {wanted!r}. Give each run a folder of its own."
                )
    return run


def preflight(folders: Sequence[Path], division: str) -> list[Refusal]:
    """All that the checker refuses in these runs, as one submission; empty if there is nothing.

    Args:
        folders: of runs, one a scenario.
        division: "closed" or "open"; open is excused from accuracy limits and compliance tests.

    Raises:
        BenchmarkError: if a folder is not of one whole run.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    refusals = [refusal for run in runs for refusal in _of_run(run, division)]
    if division == "closed":
        refusals += _of_scenarios(runs)
    return refusals


def _of_scenarios(runs: Sequence[Run]) -> list[Refusal]:
    """Which scenarios a suite lacks, or has and does not know."""
    suites: dict[Suite, set[str]] = {}
    for run in runs:
        suites.setdefault(run.params.rules.suite, set()).add(scenario(run))
    refusals = []
    for suite, found in sorted(suites.items(), key=lambda item: item[0].folder):
        missing = sorted(suite.required - found)
        if suite.one_of and not found & suite.one_of:
            missing.append(f"(one of) {' or '.join(sorted(suite.one_of))}")
        if missing:
            text = f"does not have all required scenarios, missing {missing}"
            refusals.append(Refusal(suite.folder, "scenarios_check", text))
        if unknown := sorted(found - suite.scenarios):
            text = f"has all unknown scenarios for this benchmark {unknown}"
            refusals.append(Refusal(suite.folder, "scenarios_check", text))
    return refusals


def _of_run(run: Run, division: str) -> list[Refusal]:
    """What the checker refuses in one run; without its logs it looks no further."""
    refuse = partial(Refusal, place(run))
    performance, accuracy = _logged(run, run.performance_name), _logged(run, "accuracy")
    if performance is None or performance.verdict is None:
        return [refuse("missing_check", "Performance log missing or without its end")]
    if accuracy is None or run.accuracy is None:
        return [refuse("missing_check", "Accuracy log or accuracy.txt missing")]
    rules = judge(Case(run, performance, accuracy))
    refusals = [
        refuse(complaint.check, complaint.message)
        for rule in rules
        for complaint in rule.complaints
        if division == "closed" or not complaint.closed_only
    ]
    if accuracy.num_errors:
        text = f"has loadgen errors, number of errors: {accuracy.num_errors}"
        refusals.append(refuse("loadgen_errors_check", text))
    traits = run.params.engine_traits
    if not traits.runs_model:
        text = f"the {run.params.engine} engine answered: no model was run"
        refusals.append(refuse("rules", text))
    if not traits.started_here:
        text = "a server answered: what it runs, and on which machine, is not recorded"
        refusals.append(refuse("rules", text))
    if division == "closed":
        refusals += [refuse("rules", text) for text in _beyond_the_checker(run, rules)]
    return refusals


def _beyond_the_checker(run: Run, rules: Sequence[Rule]) -> Iterator[str]:
    """What the closed division requires and the checker cannot see."""
    if not is_official(run):
        yield "the closed division wants the official model, dataset and prompt"
    elif reserved := reservation(rules):
        yield reserved
    for rule in engine_departures(run):
        yield f"{rule.title}: {rule.actual}; the closed division wants {rule.required}"


def _logged(run: Run, test: str) -> Result | None:
    """A test by what its logs say now, which is what the checker reads; None without a log."""
    if not run.has(test) or not (run.folder / test / DETAIL).is_file():
        return None
    return run.test(test).result.with_log(read_log(run.folder / test))
