"""One setting at a time, each value with an engine of its own, then all that helped together.

With ``repeats`` each value several times, in mixed order and each time with a new engine. A tuning
resumes: what was finished under the same ``run_name`` is not made again.
"""

import math
import time
from collections.abc import Callable, Sequence

import pandas as pd
import yaml

from loadgen_study.analysis.repeats import spread
from loadgen_study.facts.scores import Variant
from loadgen_study.results.run import Run, repeat_name
from loadgen_study.rules.conformance import engine_departures
from loadgen_study.runs.combined import BASELINES, KEPT, combination, keep_best, outcome
from loadgen_study.runs.costs import COSTS, costs
from loadgen_study.runs.far_side import Step
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.repeats import mixed_order, verdicts
from loadgen_study.runs.side_by_side import Job, side_by_side
from vllm_loadgen.errors import BenchmarkError

VARIANT = "variant.json"


def tune(run: LiveRun, say: Callable[[str], object] = print) -> pd.DataFrame:
    """Vary each parameter of ``tune`` alone, each value with an engine of its own.

    The run's own parameters are measured first and, to show drift, last again. What helped beyond
    noise (``combined.helped``) is then measured together, and the best is kept as ``tuned.yaml``.

    Returns:
        see ``tune_table``.
    """
    first, last = (Variant(title=title) for title in BASELINES)
    asked = [first]
    for name, values in run.params.tune.items():
        asked += [Variant(title=_title(name, value), changes={name: value}) for value in values]
    _measure_all(run, [*asked, last], say)
    if whole := combination(run.read(), tune_table(run.read())):
        _measure_all(run, [whole], say)
    found = run.read()
    table = tune_table(found)
    keep_best(run, outcome(found, table))
    return table


def _measure_all(run: LiveRun, asked: list[Variant], say: Callable[[str], object]) -> None:
    """Each variant as often as ``repeats`` says; one that failed is not tried again here."""
    order = list(mixed_order(asked, run.params.repeats))
    if run.params.side_by_side:
        _by_workers(run, order, say)
    else:
        _one_by_one(run, order, say)


def _one_by_one(
    run: LiveRun, order: Sequence[tuple[Variant, int]], say: Callable[[str], object]
) -> None:
    run.close()  # two engines at once would measure each other
    failed: set[str] = set()
    for place, (variant, number) in enumerate(order, 1):
        begin = time.monotonic()
        if variant.title in failed:  # a later call tries it again
            continue
        if problem := _measure(run, variant, number):
            failed.add(variant.title)
        ended = problem or f"{time.monotonic() - begin:.0f} s"
        say(f"{place} of {len(order)}: {variant.title}: {ended}")


def _by_workers(
    run: LiveRun, order: Sequence[tuple[Variant, int]], say: Callable[[str], object]
) -> None:
    failed: set[str] = set()

    def job(asked: Variant, number: int) -> Job:
        def end(variant: LiveRun, problem: str) -> None:
            problem = problem or _scored(variant, number)
            if problem:
                failed.add(asked.title)
            if problem or asked.title not in failed:  # of several runs the failure stays
                _write(variant, asked, problem)
            say(f"{asked.title}: {problem or 'measured'}")

        return Job(
            asked.title,
            _steps(run, number),
            begin=lambda: _begin(run, asked),
            end=end,
            unwanted=lambda: asked.title in failed,
        )

    side_by_side(run, [job(*each) for each in order])


def _title(name: str, value: object) -> str:
    """A variant's name; of ``engine_options`` what they are."""
    if isinstance(value, dict):
        return ", ".join(_title(*item) for item in value.items())
    # The text "1" is another value than the number.
    is_plain = not isinstance(value, str) or isinstance(yaml.safe_load(value), str)
    return f"{name}={value if is_plain else repr(value)}"


def _measure(run: LiveRun, asked: Variant, number: int) -> str:
    """One variant; a setting that the engine refuses is a result too, returned as one line.

    What an earlier tuning under this run_name finished is not made again, what failed is.

    Args:
        number: of its run, from 1.
    """
    problem = ""
    with _begin(run, asked) as variant:
        try:
            for step in _steps(run, number):
                variant.once(step.name, step.mode, **step.changes)
        except BenchmarkError as error:
            problem = str(error).splitlines()[0]
        problem = problem or _scored(variant, number)
    _write(variant, asked, problem)
    return problem


def _begin(run: LiveRun, asked: Variant) -> LiveRun:
    """A variant's run; until it has ended it is one that did not."""
    variant = run.variant(_place(run, asked), **asked.changes)
    _write(variant, asked, "interrupted")
    return variant


def _write(variant: LiveRun, asked: Variant, problem: str) -> None:
    asked.model_copy(update={"problem": problem}).write(variant.folder / VARIANT)


def _steps(run: LiveRun, number: int) -> list[Step]:
    """The tests of a variant's run; the answers are scored in the first."""
    steps = [Step(repeat_name("performance", number))]
    if run.params.tune_accuracy and number == 1:
        steps.append(Step("accuracy", "accuracy", {"scenario": "Offline", "target_qps": 1.0}))
    return steps


def _scored(variant: LiveRun, number: int) -> str:
    """Score a variant's answers, if there are any to score; why not, as one line."""
    try:
        if variant.params.tune_accuracy and number == 1:
            variant.score()
    except BenchmarkError as error:
        return str(error).splitlines()[0]
    return ""


def _place(run: LiveRun, asked: Variant) -> str:
    """The folder of this variant, by what it changes; a new one if it was not asked for before."""
    paths = sorted(run.folder.glob(f"tune/*/{VARIANT}"))
    for path in paths:
        known = Variant.read(path)
        # The oldest files tell a title alone.
        if (known.title, known.changes or asked.changes) == (asked.title, asked.changes):
            return f"tune/{path.parent.name}"
    taken = [int(path.name) for path in run.folder.glob("tune/*") if path.name.isdigit()]
    return f"tune/{max(taken, default=-1) + 1:02d}"


def tune_table(run: Run) -> pd.DataFrame:
    """What a run's tuning found, one row a variant in order; empty if there was none.

    Returns:
        index variant; tokens_per_s (of the median run), ci_low and ci_high (95 %: of one run
        within it, of several between them, NaN of two), ratio (to the mean of both baselines), runs
        and cv (coefficient of variation of tokens_per_s, a share; both only with repeats),
        ttft_mean_ms, tpot_mean_ms, the columns of ``COSTS`` that are known, verdict, rouge1 (None
        if not asked, or not scorable), rules ("kept", or those that this variant breaks and the
        baseline does not), problem.
    """
    paths = sorted(run.folder.glob(f"tune/*/{VARIANT}"))
    found = [(Variant.read(path), path.parent) for path in paths]
    rows = [_row(Run.open(folder)) | {"problem": variant.problem} for variant, folder in found]
    titles = [variant.title for variant, _ in found]
    frame = pd.DataFrame(rows, index=pd.Index(titles, name="variant"))
    if frame.empty:
        return frame
    baselines = frame[frame.index.isin(BASELINES)]
    frame.insert(3, "ratio", frame["tokens_per_s"] / baselines["tokens_per_s"].mean())
    if frame["runs"].max() <= 1:
        frame = frame.drop(columns=["runs", "cv"])
    unknown = [name for name in COSTS if frame[name].isna().all()]
    frame = frame.drop(columns=unknown)
    own = baselines["rules"].iloc[0]
    frame["rules"] = [", ".join(r for r in broken if r not in own) or KEPT
                      for broken in frame["rules"]]  # fmt: skip
    return frame


def _row(variant: Run) -> dict[str, object]:
    figures = (
        "tokens_per_s",
        "ci_low",
        "ci_high",
        "runs",
        "cv",
        "ttft_mean_ms",
        "tpot_mean_ms",
        *COSTS,
    )
    row: dict[str, object] = dict.fromkeys(figures, math.nan)
    row |= {"runs": 0, "verdict": "", "rouge1": variant.rouge1, "rules": []}
    runs, test = list(variant.repeats("performance").values()), variant.performance
    if runs and test is not None:
        between = spread([one.metrics.tokens_per_s for one in runs])
        low, high = test.tokens_per_s_interval if len(runs) == 1 else (between.low, between.high)
        row |= {
            "tokens_per_s": test.metrics.tokens_per_s, "ci_low": low, "ci_high": high,
            "runs": len(runs), "cv": between.cv,
            "ttft_mean_ms": test.metrics.ttft_ms.mean,
            "tpot_mean_ms": test.metrics.tpot_ms.mean,
            "verdict": verdicts(runs),
            **costs(test, variant.params.price_per_hour),
            "rules": [rule.title for rule in engine_departures(variant)],
        }  # fmt: skip
    return row
