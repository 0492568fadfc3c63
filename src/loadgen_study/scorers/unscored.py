"""Writes the answers that are not scored here to a file for a scorer in a container.

Code that a model wrote is never run here. MLCommons' scripts run it: use a container without
network and secrets.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from loadgen_study.scorers.scorer import NOT_SCORED, UNDECIDED, Scorer
from vllm_loadgen import files

UNSCORED = "unscored.jsonl"  # in the folder of the accuracy test


def unscored_text(score: Mapping[str, int | float]) -> str:
    """A sentence on how many answers a score leaves out; empty if none."""
    unscored, undecided = (int(score.get(one.name, 0)) for one in (NOT_SCORED, UNDECIDED))
    parts = []
    if unscored:
        kind = "of code, which is never run here, or of a kind without a scorer"
        parts.append(f"{unscored:,} are {kind} (accuracy/{UNSCORED})")
    if undecided:
        parts.append(f"{undecided:,} formulas are not decided by their text")
    return f"Of the answers {' and '.join(parts)}." if parts else ""


def write_unscored(scorer: Scorer, samples: pd.DataFrame, path: Path) -> int:
    """Write the samples of ``Scorer.score`` that are not scored, one JSON object a line.

    Each has index, answer, ground_truth and the task's ``extra`` columns: MLCommons' scorer of
    mixtral-8x7b reads language and entry point from ``id``.

    Returns:
        their number; at 0 no file is written.
    """
    if NOT_SCORED.name not in samples:
        return 0
    rows = samples[samples[NOT_SCORED.name]]
    own = [*(metric.name for metric in scorer.metrics), "output_tokens", "scorable", "weight"]
    names = {"sample_index": "index", "summary": "answer", "reference": "ground_truth"}
    table = rows.drop(columns=own, errors="ignore").rename(columns=names)
    if not table.empty:
        lines = (json.dumps(row, ensure_ascii=False) for row in table.to_dict("records"))
        files.write_text(path, "\n".join(lines) + "\n")
    return len(table)
