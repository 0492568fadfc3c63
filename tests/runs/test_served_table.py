"""Both ways side by side, from what two tests left."""

import pandas as pd
import pytest
from helpers import RESULT, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.report.report import Report
from loadgen_study.report.sections import served
from loadgen_study.runs.served import served_table


def made(folder, cores, **changes):
    write_facts(folder, RunParams(**changes))
    result = RESULT | {"queries": 20, "duration_s": 60.0}
    write_test(folder / "performance", result, seed_records())
    shares = {"cpu_share": 0.5, "own_cpu_share": 0.5, "steal_share": 0.0, "own_memory_gib": 1.0}
    frame = pd.DataFrame([{"time_s": 1.0, **shares, "front_cpu_cores": cores}])
    frame.to_parquet(folder / "performance" / "telemetry.parquet")
    return Run.open(folder)


def test_served_and_in_process(tmp_path):
    run = made(tmp_path, 0.5, serve=True, compare_in_process=True)
    assert served_table(run).empty  # the other is not made yet
    made(tmp_path / "in-process", 0.25)
    table = served_table(run)
    assert table.loc["Mean TTFT, ms", "difference"] == "+0.0 %"
    # Half a core for 60 s and 20 queries.
    assert table.loc["p99 of TTFT, ms", "served"] == "too few queries"
    cpu = table.loc["CPU of the front end, ms per query"]
    assert cpu.tolist() == ["1,500.00", "750.00", "+100.0 %"]
    assert "Cost of the server" in served.text(run, table)
    assert any("Cost of the server" in str(part) for part in Report(run).extra_tests().parts)


def test_what_was_not_measured_is_not_compared(tmp_path):
    run = made(tmp_path, 0.5, serve=True, compare_in_process=True)
    other = made(tmp_path / "in-process", 0.25)
    (other.folder / "performance" / "telemetry.parquet").unlink()
    cpu = served_table(run).loc["CPU of the front end, ms per query"]
    assert cpu.tolist() == ["1,500.00", "not measured", ""]


def test_a_run_in_process_has_nothing_beside_it(tmp_path):
    run = made(tmp_path, 0.5)
    assert served_table(run).empty
    assert served.text(run, served_table(run)) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scenario": "Offline"}, True),
        ({"scenario": "Offline", "max_num_seqs": 8, "max_num_batched_tokens": 64}, False),
        ({"scenario": "Server"}, False),
    ],
)
def test_offline_the_two_have_other_batch_limits_unless_they_are_given(tmp_path, changes, said):
    run = made(tmp_path, 0.5, serve=True, compare_in_process=True, **changes)
    made(tmp_path / "in-process", 0.25, **changes)
    assert ("larger batch limits" in served.text(run, served_table(run))) == said
