"""The end of a tuning: the values that helped beyond noise combined, and the best kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from loadgen_study.facts.scores import Variant
from loadgen_study.results.run import Run
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.study import recorded
from vllm_loadgen.files import write_text

TITLE = "combined: "
# The run as it is, measured first and last; and what the column "rules" says where none is broken.
BASELINES, KEPT = ("baseline", "baseline again"), "kept"
TUNED = "tuned.yaml"
VARIANT = "variant.json"


@dataclass(frozen=True)
class Outcome:
    """What a tuning found.

    Attributes:
        helped: titles of the values that helped beyond noise, the best of each parameter.
        best: the title of the fastest of them and of their combination; None where none helped.
        changes: of the run's parameters in ``best``.
        combined: the title of the combination, if it was measured.
    """

    helped: tuple[str, ...]
    best: str | None
    changes: dict[str, object]
    combined: str | None


def variants(run_folder: Path) -> list[tuple[Variant, Path]]:
    """The variants of a run's tuning in order, each with its folder."""
    paths = sorted(run_folder.glob(f"tune/*/{VARIANT}"))
    return [(Variant.read(path), path.parent) for path in paths]


def helped(table: pd.DataFrame) -> list[str]:
    """The values that gave more tokens/s beyond noise, fastest first.

    Beyond noise: above the faster of both baselines by more than these two differ, and, where both
    have an interval (95 %: between runs from three on, of one run within it), with intervals that
    do not meet. A value that breaks a rule or a verdict which the baselines keep does not help. The
    combination is judged as the others are.

    Args:
        table: of ``tuning.tune_table``.
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
    """The variants (of ``best_of_each``) as one more; None for fewer than two."""
    if len(chosen) < 2:
        return None
    changes = {name: value for one in chosen for name, value in one.changes.items()}
    return Variant(title=TITLE + ", ".join(one.title for one in chosen), changes=changes)


def outcome(run: Run, table: pd.DataFrame) -> Outcome:
    """What a tuning found, by its table."""
    chosen = best_of_each(run, table)
    rates = table.get("tokens_per_s", pd.Series(dtype=float)).dropna()
    whole = combination(chosen)
    measured = [whole] if whole and whole.title in rates else []
    best = max([*chosen, *measured], key=lambda one: float(rates[one.title]), default=None)
    return Outcome(
        helped=tuple(one.title for one in chosen),
        best=best.title if best else None,
        changes=dict(best.changes) if best else {},
        combined=measured[0].title if measured else None,
    )


def keep_best(run: LiveRun, found: Outcome) -> None:
    """Write the run's parameters with what was best; no file where nothing helped."""
    path = run.folder / TUNED
    if found.best is None:
        path.unlink(missing_ok=True)
        return
    tuned = run.params.changed(**{**found.changes, "tune": {}, "tune_accuracy": False})
    write_text(path, recorded(tuned).to_yaml())


def best_of_each(run: Run, table: pd.DataFrame) -> list[Variant]:
    """Of each parameter the fastest value that helped, fastest first."""
    if table.empty:
        return []
    # Not of the combination.
    by_title = {one.title: one for one, _ in variants(run.folder) if len(one.changes) == 1}
    chosen: dict[tuple[str, ...], Variant] = {}
    for title in helped(table):
        if title in by_title:
            chosen.setdefault(tuple(by_title[title].changes), by_title[title])
    return list(chosen.values())
