import pandas as pd
from helpers import RESULT, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.runs.sweep import points_table, sweep_table


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


def test_a_search_and_a_server_main_test_stand_beside_the_sweep(tmp_path):
    def asked(name, result=RESULT, **changes):
        rows = [(i, i, i, i + 0.2, i + 1, 9, 5) for i in range(20)]
        folder = write_test(tmp_path / "run" / name, result, make_records(rows))
        (folder / "params.yaml").write_text(RunParams(**changes).to_yaml())

    write_facts(tmp_path / "run", RunParams(target_qps="auto"))
    offline = RESULT | {"scenario": "Offline"}
    asked("performance", target_qps=1.3)
    asked("peak/01", target_qps=1.2)
    asked("peak/02", target_qps=1.3, concurrency=4)
    asked("peak/offline", offline, scenario="Offline")
    assert points_table(Run.open(tmp_path / "run")).empty  # no sweep to stand beside
    asked("sweep/1-qps", target_qps=1.0)
    asked("sweep/2-at-once", offline, scenario="Offline", concurrency=2)
    points = points_table(Run.open(tmp_path / "run"))
    assert points["part"].to_dict() == {
        "1-qps": "sweep", "peak/01": "search", "performance": "main test",
        "peak/02": "search",
    }  # fmt: skip
    assert points["offered"].tolist() == [1.0, 1.2, 1.3, 1.3]
    assert list(sweep_table(Run.open(tmp_path / "run")).index) == ["2-at-once", "1-qps"]
    asked("performance", offline, scenario="Offline")
    assert "performance" not in points_table(Run.open(tmp_path / "run")).index
