"""Tests at fixed numbers of queries at once: their curve among others, their table, a preview."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.report.figures import curve
from loadgen_study.results.run import Run
from loadgen_study.rules import endpoints
from loadgen_study.rules.rule import Rule, departures
from loadgen_study.runs import compare
from loadgen_study.runs.compare import Digest
from loadgen_study.runs.curve_points import CurvePoint, NamedPoint, points_of, unlike
from loadgen_study.words import count

COLUMNS = (
    "verdict", "reached", "passes", "queries", "steady_tokens_per_s", "tokens_per_s",
    "tokens_per_price", "user_p90_tokens_per_s", "sent_ttft_p50_ms", "sent_ttft_p90_ms",
    "sent_ttft_p90_upper_ms", "tpot_p50_ms", "tpot_p90_ms", "tpot_p90_upper_ms", "flat",
    "limit_share", "runs", "tokens_per_s_cv",
)  # fmt: skip


@dataclass(frozen=True)
class Others:
    """What a run's curve is compared with: other runs, and points of files."""

    runs: Sequence[Digest] = ()
    points: Sequence[NamedPoint] = ()


def parts(
    run: Run,
    sweep: pd.DataFrame,
    limits: pd.DataFrame,
    rules: Sequence[Rule],
    others: Others,
) -> list[object]:
    """Text, curve, table and preview; nothing without such tests.

    Args:
        sweep: of ``runs.sweep.sweep_table``. limits: of ``sections.sweep.limits_table``.
        rules: the run's.
    """
    tests = sweep[sweep["kind"] == "concurrency"]
    if tests.empty:
        return []
    at_once = tests["offered"].astype(int)
    said = render("report/sections/concurrency", short=list(at_once[tests["reached"] < at_once]))
    subject = f"{run.model.name}, {count(run.dataset.samples, 'sample')} of {run.dataset.name}"
    preview = endpoints.preview(tests, rules, subject, run.score is not None)
    return [
        said,
        *_curve_parts(run, tests, limits, rules, others),
        _table(run, tests, limits),
        render("report/sections/endpoints"),
        preview,
    ]


def _table(run: Run, tests: pd.DataFrame, limits: pd.DataFrame) -> pd.DataFrame:
    table = tests.join(limits.reindex(columns=["limit_share"])).set_index("offered")
    if price := run.params.price_per_hour:
        rate = table["steady_tokens_per_s"].fillna(table["tokens_per_s"])
        table["tokens_per_price"] = rate * 3600 / price
    kept = [name for name in COLUMNS if name in table and table[name].notna().any()]
    return table[kept].rename_axis("queries at once")


def _curve_parts(
    run: Run, tests: pd.DataFrame, limits: pd.DataFrame, rules: Sequence[Rule], others: Others
) -> list[object]:
    """Figure and caption, what is not drawn, and published results in a table of their own."""
    own = points_of(run, tests)
    runs, other_runs = _of_runs(run, own, others.runs)
    files, other_points = _of_points(run, others.points)
    apart = [point for point in files if point.is_mlperf and departures(rules)]
    drawn = {curve.OWN: own} | runs
    for point in files:
        if point not in apart:
            drawn[point.source] = (*drawn.get(point.source, ()), point)
    table = curve.points(drawn, limits)
    figure = [curve.curve(table), curve.curve_caption(table)] if len(own) > 1 else []
    text = render(
        "report/sections/curves",
        drawn=bool(figure),
        left_out=[*other_runs, *other_points],
        verified=any(point.is_mlperf for point in files) and not apart,
        apart=len(apart),
    )
    return [*figure, text, _named(apart)]


def _of_runs(
    run: Run, own: Sequence[CurvePoint], others: Sequence[Digest]
) -> tuple[dict[str, Sequence[CurvePoint]], list[str]]:
    """Curves of other runs by their names, and a line for each that cannot be drawn."""
    curves: dict[str, Sequence[CurvePoint]] = {}
    left_out = []
    mine = compare.digest(run) if others else None
    for place, other in enumerate(others):
        if mine is None or not other.curve or other.curve == tuple(own):
            continue
        name = compare.heading(others, place)
        if why := compare.obstacle(mine, other):
            left_out.append(f"{name}: {why}")
        else:
            curves[name] = other.curve
    return curves, left_out


def _of_points(run: Run, points: Sequence[NamedPoint]) -> tuple[list[NamedPoint], list[str]]:
    """Points of files that the run may be compared with, and a line for each source's others."""
    whys = [unlike(run, point) for point in points]
    kept = [point for point, why in zip(points, whys, strict=True) if not why]
    left_out = Counter(f"{p.source}: {why}" for p, why in zip(points, whys, strict=True) if why)
    return kept, [f"{said}, {count(number, 'point')}" for said, number in left_out.items()]


def _named(points: Sequence[NamedPoint]) -> pd.DataFrame:
    """Published points as a table."""
    rows = [point.model_dump(exclude={"at_once"}) for point in points]
    return pd.DataFrame(rows).set_index("source") if rows else pd.DataFrame()
