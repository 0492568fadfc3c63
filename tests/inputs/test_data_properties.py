"""Datasets, damaged or made by something else: samples come out, or one line of error."""

import json

import pandas as pd
import pytest
from damage import damaged_bytes, damaged_json, known_errors
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.inputs.data import check_ids, load_samples
from loadgen_study.params import RunParams

ROWS = [{"tok_input": [5, 6, 7], "output": "A vote.", "input": "The town voted."}] * 2
TEXTS = [{"article": "The town voted.", "highlights": "A vote."}] * 2


class Words:
    """A tokenizer."""

    chat_template = "yes"

    def apply_chat_template(self, turns, **_):
        return turns[0]["content"]

    def encode(self, text, **_):
        return list(map(len, text.split()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def read(path):
    params = RunParams(dataset=str(path))
    samples = load_samples(params, Words())
    check_ids(samples, 100_000, params.dataset)
    assert samples.prompts
    assert all(type(one) is int for prompt in samples.prompts for one in prompt)
    assert all(isinstance(one, str) for one in samples.references + samples.texts)


@given(damaged_json(ROWS) | damaged_json(TEXTS), st.booleans())
def test_a_dataset_with_other_values(folder, rows, by_line):
    path = folder / ("rows.jsonl" if by_line else "rows.json")
    lines = map(json.dumps, rows if isinstance(rows, list) else [rows])
    path.write_text("\n".join(lines) if by_line else json.dumps(rows))
    with known_errors():
        read(path)


@given(st.sampled_from(["json", "csv", "parquet"]), st.data())
def test_a_dataset_with_other_bytes(folder, ending, data):
    path, frame = folder / f"bytes.{ending}", pd.DataFrame(TEXTS)
    if ending == "json":
        frame.to_json(path, orient="records")
    else:
        getattr(frame, f"to_{ending}")(path)
    path.write_bytes(data.draw(damaged_bytes(path.read_bytes())))
    with known_errors():
        read(path)
