"""Price and energy in report, comparison and tuning: there if known, absent if not."""

import pandas as pd
import pytest
from helpers import RESULT, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.facts.scores import Variant
from loadgen_study.report.sections import throughput
from loadgen_study.runs.compare import digest, figures_table
from loadgen_study.runs.costs import costs
from loadgen_study.runs.tuning import tune_table

POWER = pd.DataFrame({"time_s": [1.0, 2.0, 3.0], "cpu_energy_j": [10.0, 50.0, 90.0],
                      "cpu_share": 0.5, "own_cpu_share": 0.5, "steal_share": 0.0,
                      "own_memory_gib": 1.0})  # fmt: skip


def made(folder, power=True, **changes) -> Run:
    write_facts(folder, RunParams(**changes))
    write_test(folder / "performance", RESULT, seed_records())
    if power:
        POWER.to_parquet(folder / "performance" / "telemetry.parquet")
    return Run.open(folder)


def test_what_a_run_costs(tmp_path):
    run = made(tmp_path, price_per_hour=3.6)
    test = run.performance
    found = costs(test, 3.6)
    assert found["watts"] == pytest.approx(40.0)
    assert found["joules_per_token"] == pytest.approx(40.0 / test.metrics.tokens_per_s)
    assert found["price_per_million"] == pytest.approx(1000 / test.metrics.tokens_per_s)
    said = throughput.text(run, test)
    assert "At 3.6 an hour:" in said
    assert "per million output tokens" in said
    assert "for 13,368 such samples" in said
    assert "CPU packages 40 W" in said


def test_what_is_not_known_is_not_said(tmp_path):
    run = made(tmp_path, power=False)
    assert costs(run.performance, None) == {}
    assert "an hour" not in throughput.text(run, run.performance)
    assert not [row for row in figures_table([digest(run)]).index if "token" in row and "J" in row]


def test_the_energy_of_the_client_is_not_that_of_the_server(tmp_path):
    run = made(tmp_path, engine="openai", base_url="http://other:8000")
    assert run.performance.energy is None


def test_costs_side_by_side(tmp_path):
    with_power = digest(made(tmp_path / "a", price_per_hour=3.6))
    without = digest(made(tmp_path / "b", power=False))
    table = figures_table([with_power, without])
    assert table.loc["Mean power, W"].tolist() == ["40.000", "n/a"]
    assert table.loc["Price of 10^6 output tokens", "b"] == "n/a"


def test_costs_of_a_tuning(tmp_path):
    run = made(tmp_path, price_per_hour=3.6)
    for number, title in enumerate(("baseline", "baseline again")):
        variant = made(tmp_path / "tune" / f"0{number}", price_per_hour=3.6)
        Variant(title=title).write(variant.folder / "variant.json")
    table = tune_table(run)
    assert table["watts"].tolist() == pytest.approx([40.0, 40.0])
    assert table["price_per_million"].notna().all()


def test_a_tuning_without_costs_has_no_columns_for_them(tmp_path):
    run = made(tmp_path, power=False)
    variant = made(tmp_path / "tune" / "00", power=False)
    Variant(title="baseline").write(variant.folder / "variant.json")
    assert not {"watts", "joules_per_token", "price_per_million"} & set(tune_table(run).columns)
