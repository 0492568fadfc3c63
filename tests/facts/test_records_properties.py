"""records.parquet, damaged or made by something else: figures come out, or one line of error."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import damaged_bytes, damaged_json, known_errors
from helpers import THREE, make_records
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.facts.tables import COLUMNS, read_records

GOOD = make_records(THREE)
TABLE = pa.Table.from_pandas(GOOD)
NOTES = json.loads(TABLE.schema.metadata[b"pandas"])
# What a column may hold in place of whole numbers.
VALUES = st.sampled_from(
    [
        ["a", "b", "c"], [b"a", None, b"c"], [None] * 3, [0.5, 1.0, 2.0], [np.nan, 1.0, np.inf],
        [True, False, None], [[1], [2], []], [{"a": 1}] * 3, [2**63 - 1] * 3, [-(2**63)] * 3,
        [1e300] * 3, pd.to_datetime([1, 2, 3]), pd.to_timedelta([1, 2, 3]), pd.Categorical([1] * 3),
        np.array([2**64 - 1] * 3, np.uint64),
    ]
)  # fmt: skip


def stored(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "records.parquet"


def read(path):
    records = read_records(path)
    metrics(latencies(records), "Server")


@given(damaged_bytes(stored(GOOD)))
def test_records_with_other_bytes(path, content):
    path.write_bytes(content)
    with known_errors():
        read(path)


@given(st.dictionaries(st.sampled_from(sorted(COLUMNS)), VALUES, min_size=1, max_size=2))
def test_records_with_other_columns(path, columns):
    GOOD.assign(**columns).to_parquet(path)
    with known_errors():
        read(path)


@given(damaged_json(NOTES).map(json.dumps) | st.text())
def test_records_with_other_notes_of_pandas(path, notes):
    notes = {"pandas": notes.encode(errors="replace")}
    pq.write_table(TABLE.replace_schema_metadata(notes), path)
    with known_errors():
        read(path)
