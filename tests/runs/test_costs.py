"""Price and energy in report, comparison and tuning: there if known, absent if not."""

import numpy as np
import pandas as pd
import pytest
from helpers import RESULT, make_records, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.facts.inputs import MachineLimits
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


def test_the_power_of_a_machine_that_the_user_names_is_the_servers(tmp_path):
    run = made(tmp_path, engine="openai", base_url="http://other:8000")
    path = run.folder / "performance" / "telemetry.parquet"
    POWER.assign(machine_power_w=600.0).to_parquet(path)
    assert Run.open(tmp_path).performance.energy.watts == {"whole machine": 600.0}


def test_a_run_without_a_meter_says_so(tmp_path):
    run = made(tmp_path)
    assert "no meter" not in throughput.text(run, run.performance)
    POWER.drop(columns="cpu_energy_j").to_parquet(run.folder / "performance/telemetry.parquet")
    without = Run.open(tmp_path)
    assert "Energy: no meter." in throughput.text(without, without.performance)


@pytest.mark.parametrize("idle", [None, 10.0])
def test_the_energy_of_the_steady_state_and_the_idle_power(tmp_path, idle):
    run = made(tmp_path)
    # Twelve queries, two at once, each 2 s: 20 tokens in, 11 out.
    starts = [float(i) for i in range(12)]
    records = make_records([(s, s, s, s + 0.5, s + 2.0, 20, 11) for s in starts])
    write_test(run.folder / "performance", RESULT, records)
    time_s = np.arange(0.0, 14.0)
    steps = pd.DataFrame({"time_s": time_s, "running": [1, *[2] * 11, 1, 0]})
    steps["waiting"] = (time_s < 12).astype(int)
    steps.to_parquet(run.folder / "performance" / "engine_steps.parquet")
    power = pd.DataFrame({"time_s": time_s, "cpu_energy_j": 40.0 * time_s})
    power.to_parquet(run.folder / "performance" / "telemetry.parquet")
    watts = {"CPU packages": idle} if idle else {}
    if idle:
        known = {"device": "cpu", "memory_bandwidth_gb_s": 1.0, "idle_power_w": watts}
        MachineLimits.model_validate(known).write(run.folder / "machine.json")
    found = Run.open(tmp_path)
    said = throughput.text(found, found.performance)
    span = found.performance.steady
    steady = found.performance.steady_energy(watts)
    assert steady.per_input == pytest.approx(40.0 * (span.end_s - span.begin_s) / (20 * 10))
    assert "J per input token" in said
    assert ("Idle power: 10 W; beyond it" in said) == bool(idle)
    assert ("Idle power: not known." in said) != bool(idle)


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
