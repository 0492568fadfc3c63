"""The answers of runs, or of a tuning's variants, compared with those of the first."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen_study.accuracy.fidelity import FORCED
from loadgen_study.accuracy.paired import Answered, Difference, difference
from loadgen_study.facts.inputs import Dataset
from loadgen_study.facts.scores import Forced
from loadgen_study.facts.tables import read_frame
from loadgen_study.results.run import Run
from loadgen_study.runs.compare import Digest
from loadgen_study.runs.tuning import variants

OTHER_DATA = "not compared: other data"
OTHER_PROMPTS = "not compared: other prompts"
NOT_SCORED = "no scored answers"


@dataclass(frozen=True)
class AnswerComparison:
    """A run's answers compared with the first run's; ``problem`` is why there is no difference."""

    title: str
    difference: Difference | None = None
    problem: str = ""


def tuned(run: Run) -> list[AnswerComparison]:
    """The variants of a tuning compared with the run as it is; empty without scored answers."""
    return compare_answers([(one.title, Run.open(folder)) for one, folder in variants(run.folder)])


def compared(runs: Sequence[Digest]) -> list[AnswerComparison]:
    """Runs compared with the first; those that came in a notebook bring no answers."""
    if not runs or runs[0].folder is None:
        return []
    return compare_answers([(run.name, Run.open(run.folder)) for run in runs if run.folder])


def compare_answers(runs: Sequence[tuple[str, Run]]) -> list[AnswerComparison]:
    """Each other run compared with the first, by its title; empty if no two were scored."""
    answered = [_answered(run) for _, run in runs]
    if sum(one is not None for one in answered) < 2 or answered[0] is None:
        return []
    first, data, metric = answered[0], runs[0][1].scored_data, runs[0][1].task.scorer.main
    found = []
    for (title, run), other in zip(runs[1:], answered[1:], strict=True):
        if other is None or metric.name not in other.samples:
            found.append(AnswerComparison(title, problem=NOT_SCORED))
        elif problem := _obstacle(data, run.scored_data):
            found.append(AnswerComparison(title, problem=problem))
        else:
            found.append(AnswerComparison(title, difference(first, other, metric)))
    return found


def _answered(run: Run) -> Answered | None:
    """What a run's accuracy test answered; None if it was not scored."""
    scores = run.folder / "accuracy" / "scores.parquet"
    if run.accuracy is None or not scores.is_file():
        return None
    return Answered(read_frame(scores), Forced.read_if_there(scores.with_name(FORCED)))


def _obstacle(first: Dataset, other: Dataset) -> str:
    """Why the answers of two runs cannot be compared; empty if they can."""
    if (first.checksum, first.samples) != (other.checksum, other.samples):
        return OTHER_DATA
    return "" if first.prompts_sha256 == other.prompts_sha256 else OTHER_PROMPTS
