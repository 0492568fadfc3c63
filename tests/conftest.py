"""What several test files share: echo sessions, short parameters, imitated records."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from vllm_loadgen.params import RunParams
from vllm_loadgen.records import NULLABLE
from vllm_loadgen.session import Session

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = [list(range(100 + i, 140 + i)) for i in range(16)]


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


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A worker with an echo engine: 5 ms to the first token, 0.5 ms for each other."""
    log = tmp_path_factory.mktemp("echo") / "engine.log"
    params = echo_params(engine_options={"ttft_ms": 5.0, "tpot_ms": 0.5})
    with Session(params, "", log) as session:
        yield session


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
