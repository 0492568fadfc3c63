"""LoadGen's accuracy log, damaged or edited: it is read and checked, or refused in one line."""

import json

import pytest
from damage import damaged_bytes, damaged_json, known_errors
from hypothesis import given

from loadgen_study.accuracy.log import check_answers, one_per_sample, read_accuracy_log

ENTRIES = [
    {"seq_id": n, "qsl_idx": n, "data": "0500000007000000", "token_data": "05000000",
     "token_count": 2}
    for n in range(3)
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("logs") / "mlperf_log_accuracy.json"


def read(path):
    answers = read_accuracy_log(path)
    check_answers(answers, 10, path)
    return one_per_sample(answers, 3, path)


@given(damaged_bytes(json.dumps(ENTRIES).encode()))
def test_a_log_with_other_bytes(path, content):
    path.write_bytes(content)
    with known_errors():
        assert len(read(path)) == 3


@given(damaged_json(ENTRIES))
def test_a_log_with_other_values(path, entries):
    path.write_text(json.dumps(entries))
    with known_errors():
        assert len(read(path)) == 3
