"""LoadGen's logs, damaged: a log is read, or said not to be whole."""

import json

import pytest
from damage import damaged_bytes, damaged_json, known_errors
from hypothesis import given
from hypothesis import strategies as st

from vllm_loadgen.harness.log import DETAIL, MARK, SUMMARY, read_log

ENTRIES = [
    {"key": "requested_use_token_latencies", "value": True, "metadata": {"is_error": False}},
    {"key": "effective_scenario", "value": "Server", "metadata": {"is_error": False}},
    {"key": "effective_min_duration_ms", "value": 600000, "metadata": {}},
    {"key": "qsl_reported_total_count", "value": 16, "metadata": {"is_warning": True}},
    {"key": "result_validity", "value": "VALID", "metadata": {"is_error": True}},
    {"key": "result_99.00_percentile_latency_ns", "value": 17},
    {"key": "early_stopping_met", "value": False},
]
SUMMARY_TEXT = b"Result is : INVALID\n  Min duration satisfied : NO\n=====\nmore\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


def lines(entries):
    return "".join(f"{MARK} {json.dumps(entry)}\n" for entry in entries).encode()


@given(damaged_bytes(lines(ENTRIES)), damaged_bytes(SUMMARY_TEXT))
def test_a_log_with_other_bytes(folder, detail, summary):
    (folder / DETAIL).write_bytes(detail)
    (folder / SUMMARY).write_bytes(summary)
    with known_errors():
        read_log(folder)


@given(damaged_json(ENTRIES), st.sampled_from(["", "[" * 100_000]))
def test_a_log_with_other_values(folder, entries, deep):
    content = lines(entries) if isinstance(entries, list) else lines([entries])
    (folder / DETAIL).write_bytes(content + f"{MARK} {deep}\n".encode() * bool(deep))
    (folder / SUMMARY).unlink(missing_ok=True)
    with known_errors():
        read_log(folder)
