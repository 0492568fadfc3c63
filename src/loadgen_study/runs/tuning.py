"""One setting at a time, each value with an engine of its own, then all that helped together.

With ``repeats``, each value is measured several times, in mixed order, each time with a new engine.
Finished tests of the same ``run_name`` are reused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from loadgen_study.analysis.repeats import spread
from loadgen_study.facts.scores import Variant
from loadgen_study.results.run import Run, median_run, repeat_name
from loadgen_study.rules.conformance import engine_departures
from loadgen_study.runs.costs import COSTS, costs
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.peak import find_peak
from loadgen_study.runs.remote_worker import Step
from loadgen_study.runs.repeats import mixed_order, verdicts
from loadgen_study.runs.side_by_side import Job, one_by_one, side_by_side
from loadgen_study.runs.study import recorded
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_text

BASELINES = ("baseline", "baseline again")  # the unchanged run, measured first and last
KEPT = "kept"  # in the column "rules", where none is broken
TUNED = "tuned.yaml"
VARIANT = "variant.json"
SEARCH = "search-"  # the folder of a variant's further search for a rate, with its number
COLUMNS = (
    "tokens_per_s", "ci_low", "ci_high", "runs", "cv", "ttft_mean_ms", "tpot_mean_ms", *COSTS,
    "verdict", "score", "rules", "problem",
)  # fmt: skip


def tune(run: LiveRun, say: Callable[[str], object] = print) -> pd.DataFrame:
    """Vary each parameter of ``tune`` alone, each value with an engine of its own.

    The run's own parameters are measured first and, to show drift, last again. What helped beyond
    noise (``helped``) is then measured together, and the best is kept as ``tuned.yaml``.

    Returns:
        see ``tune_table``.
    """
    first, last = (Variant(title=title) for title in BASELINES)
    singles = [variant_of(changes) for changes in run.params.tune_settings]
    measure_all(run, mixed_order([first, *singles, last], run.params.repeats), say)
    found = run.read()
    if whole := combination(best_of_each(found, tune_table(found))):
        measure_all(run, mixed_order([whole], run.params.repeats), say)
        found = run.read()
    table = tune_table(found)
    keep_best(run, outcome(found, table).changes)
    return table


def variant_of(changes: dict[str, Any]) -> Variant:
    """A variant, its title made of its changes: "max_num_seqs=64, dtype=float16"."""
    title = ", ".join(_title(name, value) for name, value in changes.items())
    return Variant(title=title, changes=changes)


def measure_all(
    run: LiveRun, order: Iterable[tuple[Variant, int]], say: Callable[[str], object]
) -> None:
    """Measure variants in this order, each with the number of its run, from 1.

    One that failed is not tried again in this call.
    """
    failed: set[str] = set()

    def job(one: Variant, number: int) -> Job:
        def end(variant: LiveRun, problem: str) -> str:
            problem = problem or _scored(variant, number)
            if problem:
                failed.add(one.title)
            if problem or one.title not in failed:  # of several runs the failure stays
                _write(run, one, problem)
            return problem

        return Job(
            one.title,
            _steps(run, number),
            begin=lambda: _begin(run, one, number),
            end=end,
            unwanted=lambda: one.title in failed,  # a later call tries it again
            work=partial(find_peak, say=say) if _searches(run) else None,
        )

    make = side_by_side if run.params.side_by_side else one_by_one
    make(run, [job(*each) for each in order], say)


def _title(name: str, value: object) -> str:
    """A variant's name; of ``engine_options`` each option with its value."""
    if isinstance(value, dict):
        return ", ".join(_title(*item) for item in value.items())
    # The text "1" is another value than the number.
    is_plain = not isinstance(value, str) or isinstance(yaml.safe_load(value), str)
    return f"{name}={value if is_plain else repr(value)}"


def _begin(run: LiveRun, planned: Variant, number: int) -> LiveRun:
    """A variant's run, recorded as interrupted until it ends.

    Each search for a rate is a run of its own, as ``peak.json`` holds one search.
    """
    place = _place(run, planned)
    _write(run, planned, "interrupted")
    folder = f"{place}/{SEARCH}{number}" if _searches(run) and number > 1 else place
    return run.variant(folder, **own_changes(run, planned.changes))


def own_changes(run: LiveRun, changes: Mapping[str, object]) -> dict[str, object]:
    """The changes of a variant, with the rate that the run found and the price of the devices."""
    own: dict[str, object] = {}
    if isinstance(run.params.target_qps, str) and not _searches(run):
        own["target_qps"] = run.test_params("performance", {}).target_qps
    if run.params.tune_objective == "cost" and run.params.price_per_hour and run.environment.gpus:
        devices = run.params.changed(tune={}, **changes).devices
        own["price_per_hour"] = run.params.price_per_hour * devices / run.params.devices
    return own | dict(changes)


def _searches(run: LiveRun) -> bool:
    """Whether each variant is measured by a search for its highest VALID rate."""
    return run.params.tune_objective == "valid_qps"


def _write(run: LiveRun, planned: Variant, problem: str) -> None:
    path = run.folder / _place(run, planned) / VARIANT
    path.parent.mkdir(parents=True, exist_ok=True)
    planned.model_copy(update={"problem": problem}).write(path)


def _steps(run: LiveRun, number: int) -> list[Step]:
    """The tests of a variant's run; the answers are scored in the first."""
    steps = [] if _searches(run) else [Step(repeat_name("performance", number))]
    if run.params.tune_accuracy and number == 1:
        steps.append(Step("accuracy", "accuracy", {"scenario": "Offline", "target_qps": 1.0}))
    return steps


def _scored(variant: LiveRun, number: int) -> str:
    """Score a variant's answers, if any; returns the problem in one line, empty if none."""
    try:
        if variant.params.tune_accuracy and number == 1:
            variant.score()
    except BenchmarkError as error:
        return str(error).splitlines()[0]
    return ""


def _place(run: LiveRun, planned: Variant) -> str:
    """The folder of this variant, by what it changes; a new one if there is none."""
    for known, folder in variants(run.folder):
        if (known.title, known.changes) == (planned.title, planned.changes):
            return f"tune/{folder.name}"
    taken = [int(path.name) for path in run.folder.glob("tune/*") if path.name.isdigit()]
    return f"tune/{max(taken, default=-1) + 1:02d}"


def tune_table(run: Run) -> pd.DataFrame:
    """What a run's tuning found, one row per variant in order; empty if there was none.

    Returns:
        index variant; tokens_per_s (of the median run), ci_low and ci_high (95 %: of one run
        within it, of several between them, NaN of two), ratio (to the mean of both baselines), runs
        and cv (coefficient of variation of tokens_per_s, a share; both only with repeats),
        ttft_mean_ms, tpot_mean_ms, the columns of ``COSTS`` that are known, verdict, the main
        metric (None without tune_accuracy, or if not scorable), rules ("kept", or those that this
        variant breaks and the baseline does not), problem.
    """
    found = variants(run.folder)
    titles = pd.Index([variant.title for variant, _ in found], name="variant")
    rows = [_row(Run.open(folder)) | {"problem": variant.problem} for variant, folder in found]
    frame = pd.DataFrame(rows, index=titles, columns=COLUMNS)
    frame = frame.rename(columns={"score": run.task.scorer.main.name})
    if frame.empty:
        return frame
    baselines = frame[frame.index.isin(BASELINES)]
    frame.insert(3, "ratio", frame["tokens_per_s"] / baselines["tokens_per_s"].mean())
    once = ["runs", "cv"] if frame["runs"].max() <= 1 else []
    unknown = [name for name in COSTS if frame[name].isna().all()]
    frame = frame.drop(columns=[*once, *unknown])
    own = baselines["rules"].iloc[0]
    frame["rules"] = [", ".join(r for r in broken if r not in own) or KEPT
                      for broken in frame["rules"]]  # fmt: skip
    return frame


def _row(variant: Run) -> dict[str, object]:
    runs = list(variant.repeats("performance").values())
    if not runs:
        return {"runs": 0, "verdict": "", "score": variant.score, "rules": []}
    test, between = median_run(runs), spread([one.metrics.tokens_per_s for one in runs])
    low, high = test.tokens_per_s_interval if len(runs) == 1 else (between.low, between.high)
    return {
        "tokens_per_s": test.metrics.tokens_per_s, "ci_low": low, "ci_high": high,
        "runs": len(runs), "cv": between.cv, "score": variant.score,
        "ttft_mean_ms": test.metrics.ttft_ms.mean,
        "tpot_mean_ms": test.metrics.tpot_ms.mean,
        "verdict": verdicts(runs),
        **costs(test, variant.params.price_per_hour),
        "rules": [rule.title for rule in engine_departures(variant)],
    }  # fmt: skip


# What helped, and the best ---------------------------------------------------------------------
@dataclass(frozen=True)
class Outcome:
    """What a tuning found.

    Attributes:
        helped: titles of the values that helped beyond noise, the best of each parameter.
        best: the title of the fastest of them and of their combination; None where none helped.
        changes: of the run's parameters in ``best``; None where none helped.
        combined: the title of the combination, if it was measured.
    """

    helped: tuple[str, ...]
    best: str | None
    changes: Mapping[str, object] | None
    combined: str | None


def variants(run_folder: Path) -> list[tuple[Variant, Path]]:
    """The variants of a run's tuning in order, each with its folder."""
    paths = sorted(run_folder.glob(f"tune/*/{VARIANT}"))
    return [(Variant.read(path), path.parent) for path in paths]


def helped(table: pd.DataFrame) -> list[str]:
    """The values that gave more tokens/s beyond noise, fastest first.

    Beyond noise: above the faster baseline by more than the two baselines differ, and, where there
    are 95 % intervals, with an interval above those of the baselines. A value that breaks a rule,
    or a verdict that the baselines keep, does not help. The combination is judged the same way.

    Args:
        table: of ``tune_table``.
    """
    is_base = table.index.isin(BASELINES)
    base, rates = table[is_base], table["tokens_per_s"]
    if base["tokens_per_s"].notna().sum() < 2:
        return []
    least = 2 * base["tokens_per_s"].max() - base["tokens_per_s"].min()
    good = ~is_base & (rates > least)
    good &= ~(table["ci_low"] <= base["ci_high"].max())
    good &= table["rules"] == KEPT
    if (base["verdict"] == "VALID").all():
        good &= table["verdict"] == "VALID"
    return list(rates[good].sort_values(ascending=False).index)


def combination(chosen: Sequence[Variant]) -> Variant | None:
    """A variant of all the changes of ``best_of_each``; None for fewer than two."""
    if len(chosen) < 2:
        return None
    changes = {name: value for one in chosen for name, value in one.changes.items()}
    return Variant(title="combined: " + ", ".join(one.title for one in chosen), changes=changes)


def outcome(run: Run, table: pd.DataFrame) -> Outcome:
    """What a tuning found, by its table."""
    chosen = best_of_each(run, table)
    rates, whole = table["tokens_per_s"].dropna(), combination(chosen)
    measured = [whole] if whole and whole.title in rates else []
    best = max([*chosen, *measured], key=lambda one: float(rates[one.title]), default=None)
    return Outcome(
        helped=tuple(one.title for one in chosen),
        best=best.title if best else None,
        changes=best.changes if best else None,
        combined=measured[0].title if measured else None,
    )


def keep_best(run: LiveRun, changes: Mapping[str, object] | None) -> None:
    """Write the run's parameters with the changes of the best; None: nothing helped, no file."""
    path = run.folder / TUNED
    if changes is None:
        path.unlink(missing_ok=True)
        return
    done = {"tune": {}, "tune_accuracy": False, "tune_objective": "tokens_per_s"}
    write_text(path, recorded(run.params.changed(**{**changes, **done})).to_yaml())


def best_of_each(run: Run, table: pd.DataFrame) -> list[Variant]:
    """The fastest value that helped of each parameter, fastest first."""
    singles = {one.title: one for one, _ in variants(run.folder) if len(one.changes) == 1}
    chosen: dict[str, Variant] = {}
    for title in helped(table):
        if title in singles:  # and not the combination
            (parameter,) = singles[title].changes
            chosen.setdefault(parameter, singles[title])
    return list(chosen.values())
