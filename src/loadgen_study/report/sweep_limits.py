"""The report's part on a sweep against the machine's limits: each point at its batch, the knee."""

import math

import pandas as pd

from loadgen_study.analysis.knee import Knee, knee
from loadgen_study.report.figures.runs import UNITS, against_limits, say_offer
from loadgen_study.results.run import Run, median_run


def limits_parts(run: Run, sweep: pd.DataFrame) -> list[object]:
    """Figure, sentence and table; the sentence on the knee alone where no limit was measured."""
    table = limits_table(run, sweep)
    said = " ".join(_knee_text(kind, rows) for kind, rows in sweep.groupby("kind"))
    if table.empty:
        return [said]
    return [against_limits(table), f"{_near_text(table)} {said}", table]


def limits_table(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Each test of a sweep at its batch: what decode reaches of the limit there.

    Returns:
        index test; served_at_once (queries in a decode step, mean), decode_tokens_per_s,
        limit_tokens_per_s (of the nearer of bandwidth and matrix rate), limit_share of it, 0 to 1,
        and bound_by, the nearer of the two; of several runs the median. Tests without a TPOT are
        left out; empty where no limit was measured.
    """
    rows = {}
    for name in sweep.index:
        test = median_run(list(run.repeats(f"sweep/{name}").values()))
        found, shares = run.roofline_of(test), run.shares_of(test)
        if found is None or shares is None or math.isnan(shares.decode.share):
            continue
        at_once, decode = found.steps_at_once * found.batch, shares.decode
        rows[name] = {
            "served_at_once": at_once,
            "decode_tokens_per_s": at_once / decode.took_ms * 1e3,
            "limit_tokens_per_s": at_once / decode.least_ms * 1e3,
            "limit_share": decode.share,
            "bound_by": "matrix rate" if decode.computing else "memory bandwidth",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("test")


def _near_text(table: pd.DataFrame) -> str:
    low, high = table["limit_share"].min(), table["limit_share"].max()
    if high > 1:
        return "Decode was faster than the measured limits: measure them again (setup.ipynb)."
    return (
        f"At their batches the tests reach {low:.0%} to {high:.0%} of what the machine's limits "
        f"allow in decode, the most with {table['limit_share'].idxmax()}."
    )


def _knee_text(kind: object, rows: pd.DataFrame) -> str:
    found = knee(rows)
    if not isinstance(found, Knee):
        return f"By {UNITS[str(kind)]} no knee is named: {found.reason}."
    text = f"The knee lies near {say_offer(kind, found.offered)} (Kneedle's rule)"
    if found.enough is None:
        return f"{text}; tokens/s still grew to the end of the sweep."
    enough = say_offer(kind, found.enough)
    return f"{text}; from {enough} on more load bought less than 5 % more tokens/s."
