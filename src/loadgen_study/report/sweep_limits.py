"""The report's part on a sweep against the machine's limits: each point at its batch."""

import math

import pandas as pd

from loadgen_study.report.figures.runs import against_limits
from loadgen_study.results.run import Run, median_run


def limits_parts(run: Run, sweep: pd.DataFrame) -> list[object]:
    """Figure, sentence and table; nothing where no limit was measured."""
    table = limits_table(run, sweep)
    if table.empty:
        return []
    return [against_limits(table), _near_text(table), table]


def limits_table(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Each test of a sweep at its batch: what decode reaches of the limit there.

    Returns:
        index test; served_at_once (queries, mean), decode_tokens_per_s (they at the mean TPOT),
        limit_tokens_per_s (of the nearer of bandwidth and matrix rate), limit_share of it, 0 to 1,
        and bound_by, the nearer of the two; of several runs the median. Tests without a TPOT are
        left out; empty where no limit was measured.
    """
    rows = {}
    for name in sweep.index:
        test = median_run(list(run.repeats(f"sweep/{name}").values()))
        found, tpot_ms = run.roofline_of(test), test.metrics.tpot_ms.mean
        if found is None or math.isnan(tpot_ms):
            continue
        least_ms = max(found.decode_limit_ms, found.decode_computing_ms)
        at_once = found.steps_at_once * found.batch
        reading = found.decode_limit_ms >= found.decode_computing_ms
        rows[name] = {
            "served_at_once": at_once,
            "decode_tokens_per_s": at_once / tpot_ms * 1e3,
            "limit_tokens_per_s": at_once / least_ms * 1e3,
            "limit_share": least_ms / tpot_ms,
            "bound_by": "memory bandwidth" if reading else "matrix rate",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("test")


def _near_text(table: pd.DataFrame) -> str:
    low, high = table["limit_share"].min(), table["limit_share"].max()
    return (
        f"At their batches the tests reach {low:.0%} to {high:.0%} of what the machine's limits "
        f"allow in decode, the most with {table['limit_share'].idxmax()}."
    )
