"""What several test files share: short parameters, imitated records, small datasets."""

import json
from pathlib import Path

import pandas as pd

from vllm_loadgen.harness.records import NULLABLE
from vllm_loadgen.params import RunParams

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = [list(range(100 + i, 140 + i)) for i in range(16)]
SETTINGS = {"ttft_latency": 2_000_000_000, "tpot_latency": 100_000_000,
            "target_latency_percentile": 0.99, "min_duration_ms": 120_000,
            "min_query_count": 100}  # fmt: skip
RESULT = {"scenario": "Server", "status": "complete", "verdict": "INVALID", "num_errors": 0,
          "duration_s": 60.0, "effective_settings": SETTINGS, "loadgen_results": {}}  # fmt: skip


def echo_params(**changes: object) -> RunParams:
    """A short Server run on the echo engine."""
    values = {
        "engine": "echo",
        "scenario": "Server",
        "target_qps": 100.0,
        "min_duration_ms": 500,
        "min_query_count": 48,
        "max_new_tokens": 32,
    }
    return RunParams.from_dict({**values, **changes})


def make_records(
    rows: list[tuple[float, float, float | None, float | None, float | None, int, int]],
):
    """Records from rows of seconds: scheduled, issued, started, first, done; input, output."""
    names = ("scheduled_ns", "issued_ns", "started_ns", "first_token_ns", "done_ns")
    frame = pd.DataFrame(rows, columns=[*names, "input_tokens", "output_tokens"])
    for name in names:
        scaled = (frame[name].astype("Float64") * 1e9).round()
        frame[name] = scaled.astype("Int64" if name in NULLABLE else "int64")
    frame.insert(0, "sample_index", range(len(frame)))
    return frame


def write_articles(path: Path, count: int, **columns: str) -> Path:
    """A small dataset file in the schema of cnn_dailymail, or with other columns."""
    names = columns or {"article": "The council of town {i} voted.", "highlights": "Vote {i}."}
    rows = [{key: text.format(i=i) for key, text in names.items()} for i in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def seed_records(told=True, queries=20):
    """The seed's run: one query at a time, 0.5 a second offered, 0.34 a second served."""
    rows, free_s = [], 0.0
    for i in range(queries):
        due = i / 0.5
        begin = max(due, free_s)
        free_s = begin + 1 / 0.34
        rows.append((due, due, begin if told else None, begin + 0.13, free_s, 778, 129))
    return make_records(rows)
