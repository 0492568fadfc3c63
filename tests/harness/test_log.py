import json

import pytest

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness.log import read_log


def write(folder, *entries):
    lines = [f":::MLLOG {json.dumps(entry)}\n" for entry in entries]
    (folder / "mlperf_log_detail.txt").write_text("".join(lines))


def entry(key, value, **metadata):
    return {"key": key, "value": value, "metadata": metadata}


def test_a_damaged_log_is_an_error(tmp_path):
    with pytest.raises(BenchmarkError, match="mlperf_log_detail"):
        read_log(tmp_path)
    (tmp_path / "mlperf_log_detail.txt").write_text(':::MLLOG {"key": "x", "va\n')
    with pytest.raises(BenchmarkError, match=r"not a whole log: .*Run again in a new folder"):
        read_log(tmp_path)


def test_of_a_key_that_comes_twice_the_first_counts_as_in_the_checker(tmp_path):
    write(tmp_path, entry("result_validity", "INVALID"), entry("result_validity", "VALID"))
    assert read_log(tmp_path).verdict == "INVALID"


def test_errors_and_warnings_are_counted(tmp_path):
    logged = [entry(f"error_{i}", "x", is_error=True) for i in range(25)]
    write(tmp_path, *logged, entry("slow", "y", is_warning=True))
    found = read_log(tmp_path)
    assert (found.num_errors, found.num_warnings) == (25, 1)
    assert len(found.error_lines) == 20
    assert found.error_lines[0] == "error_0: x"


def test_settings_on_token_latencies_are_those_requested(tmp_path):
    write(
        tmp_path,
        entry("requested_use_token_latencies", True),
        entry("requested_server_ttft_latency", 2_000_000_000),
        entry("effective_min_duration_ms", 600_000),
        entry("effective_of_a_later_loadgen", "kept"),
        entry("early_stopping_met", False),
        entry("result_first_token_99.00_percentile_latency_ns", 5),
    )
    found = read_log(tmp_path)
    settings = found.effective_settings
    assert (settings.use_token_latencies, settings.ttft_latency) == (True, 2_000_000_000)
    assert settings.min_duration_ms == 600_000
    assert settings.model_dump()["of_a_later_loadgen"] == "kept"
    assert found.loadgen_results.early_stopping_met is False
    assert found.loadgen_results.ttft_p99_ns == 5
    assert found.loadgen_results.tpot_p99_ns is None


def test_a_value_that_is_nested_without_end_is_an_error(tmp_path):
    (tmp_path / "mlperf_log_detail.txt").write_text(f":::MLLOG {'[' * 100_000}\n")
    with pytest.raises(BenchmarkError, match=r"not a whole log: .*Run again in a new folder"):
        read_log(tmp_path)
