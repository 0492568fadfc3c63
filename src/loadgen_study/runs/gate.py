"""Is a run worse than another? One decision on its speed and its answers, and an exit status."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from loadgen_study.analysis.decision import CONFIDENCE, Decision, Outcome, decide, judge
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.results.run import Run
from loadgen_study.results.test import Test
from loadgen_study.runs.compare import digest, obstacle
from loadgen_study.runs.quality import compare_answers
from loadgen_study.words import change, percent
from vllm_loadgen.errors import ParameterError

EXIT_STATUS: dict[Outcome, int] = {"better": 0, "same": 0, "worse": 10, "cannot tell": 11}
WORST_FIRST: tuple[Outcome, ...] = ("worse", "cannot tell", "better", "same")
SCORE = "score"
BOTH = "give runs that measured it"


def _p90(name: str, test: Test) -> float:
    return percentile(test.latencies[name], 0.9)


# By name: the figure of a test, and whether more is better. Then there is the score of the answers.
FIGURES: dict[str, tuple[Callable[[Test], float], bool]] = {
    "tokens_per_s": (lambda test: test.metrics.tokens_per_s, True),
    "ttft_p90": (partial(_p90, "ttft_ms"), False),
    "tpot_p90": (partial(_p90, "tpot_ms"), False),
    "goodput": (lambda test: test.metrics.samples_per_s * test.kept_share, True),
}
METRICS = (*FIGURES, SCORE)


@dataclass(frozen=True)
class Gate:
    """The decision, and that of each metric by its name."""

    outcome: Outcome
    metrics: dict[str, Decision]
    margin: float

    @property
    def status(self) -> int:
        """The exit status: 0 for better or the same, 10 for worse, 11 for cannot tell."""
        return EXIT_STATUS[self.outcome]

    def lines(self) -> list[str]:
        """A line for each metric, and the decision."""
        shown = [f"{name}: {_said(found)}" for name, found in self.metrics.items()]
        deciding = [name for name, one in self.metrics.items() if one.outcome == self.outcome]
        ends = {
            "better": f"Better: {', '.join(deciding)}; nothing is worse.",
            "same": f"The same within {percent(self.margin, 1)}.",
            "worse": f"Worse by more than {percent(self.margin, 1)}: {', '.join(deciding)}.",
            "cannot tell": f"Cannot tell: {', '.join(deciding)}.",
        }
        return [*shown, ends[self.outcome]]


def gate(
    base: Run,
    new: Run,
    margin: float,
    names: Sequence[str] = (),
    confidence: float = CONFIDENCE,
) -> Gate:
    """Decide whether a run is worse than another.

    Args:
        margin: the share by which it may be worse, 0 to 1. names: of ``METRICS``; all that both
            runs have, if empty. confidence: of the interval of a figure of speed.

    Raises:
        ParameterError: if the runs may not be compared, or have no metric or not a named one in
            common.
    """
    if problem := obstacle(digest(base), digest(new)):
        raise ParameterError(
            "NEW", new.display_path(), f"has {problem} than BASE", "compare equals"
        )
    found = {}
    for name in names or METRICS:
        if name == SCORE:
            decision = _scores(base, new, margin)
        else:
            decision = _speed(base, new, margin, name, confidence)
        if decision is not None:
            found[name] = decision
        elif names:
            cure = f"leave it out, or {BOTH}"
            raise ParameterError("--metric", name, "is not in both runs", cure)
    if not found:
        raise ParameterError("NEW", new.display_path(), "shares no figure with BASE", BOTH)
    outcomes = {one.outcome for one in found.values()}
    return Gate(next(one for one in WORST_FIRST if one in outcomes), found, margin)


def _speed(base: Run, new: Run, margin: float, name: str, confidence: float) -> Decision | None:
    figure, more_is_better = FIGURES[name]
    one, two = (
        [figure(test) for test in run.repeats("performance").values()] for run in (base, new)
    )
    if not one or not two or not min(*one, *two) > 0:
        return None
    return decide(one, two, margin, confidence, higher_is_better=more_is_better)


def _scores(base: Run, new: Run, margin: float) -> Decision | None:
    """By the same samples in pairs; one accuracy test of each is enough."""
    compared = compare_answers([(run.folder.name, run) for run in (base, new)])
    found = compared[0].difference.score if compared and compared[0].difference else None
    score = base.score
    if found is None or not score:
        return None
    low, high = (math.nan if end is None else end / score for end in (found.low, found.high))
    if found.value == 0 and math.isnan(low):  # every answer is the same
        low = high = 0.0
    known = not math.isnan(low) and not math.isnan(high)
    end = judge(low, high, -margin) if known else "cannot tell"
    return Decision(end, found.value / score, low, high)


def _said(found: Decision) -> str:
    between = f" [{change(found.low)}, {change(found.high)}]" if not math.isnan(found.low) else ""
    more = f"; {found.more_runs} more runs of each would tell" if found.more_runs else ""
    single = "; single runs: repeats 3" if math.isnan(found.low) else ""
    return f"{found.outcome}, {change(found.change)}{between}{more}{single}"
