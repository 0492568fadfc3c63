import pandas as pd
from helpers import RESULT, make_records, write_facts, write_test

from vllm_loadgen import Run, RunParams
from vllm_loadgen.runs.sweep import sweep_table


def made(folder, **queries):
    """The table of a sweep with a test of so many queries at each rate."""
    write_facts(folder, RunParams())
    for rate, number in queries.items():
        rows = [(i, i, i, i + 0.2 + i / 1e3, i + 1, 9, 5) for i in range(number)]
        write_test(folder / "sweep" / rate, RESULT, make_records(rows))
    return sweep_table(Run.open(folder))


def test_a_sweep_has_the_percentiles_that_its_queries_bound(tmp_path):
    table = made(tmp_path / "few", slow=30, fast=64)
    assert not [name for name in table if "p99" in name]
    assert table.loc["fast", ["ttft_p90_ms", "ttft_p90_upper_ms"]].tolist() == [257, 262]
    assert pd.isna(table.loc["slow", "ttft_p90_ms"])
    assert table.loc["slow", ["queries", "ttft_max_ms"]].tolist() == [30, 229]
    assert "tpot_p99_upper_ms" in made(tmp_path / "many", fast=662)
    assert made(tmp_path / "none").empty
