"""The run before of the same identity, and what repeats decide."""

import shutil

import pytest
from helpers import RESULT, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.report.sections import previous

EARLIER, LATER = "2026-11-29T10:00:00+00:00", "2026-11-30T10:00:00+00:00"


@pytest.fixture
def made(tmp_path):
    def make(name, begun, params=None, repeats=1, faster=1.0, **facts):
        folder = write_facts(tmp_path / name, params or RunParams(), **facts)
        for number in range(repeats):
            records = seed_records()
            times = [column for column in records if column.endswith("_ns")]
            records[times] = (records[times] / (faster + number * 1e-3)).astype(
                records[times].dtypes
            )
            test = "performance" + (f"-{number + 1}" if number else "")
            write_test(folder / test, RESULT | {"started_at": begun}, records)
        return folder

    return make


def found(folder):
    return previous.parts(Run.open(folder))


def test_single_runs_cannot_tell(made):
    made("older", EARLIER)
    text, table = found(made("now", LATER, faster=1.25))
    assert "older" in text
    row = table.loc["output tokens/s"]
    assert (row["change"], row["decision"]) == ("+25.0 %", "cannot tell")
    assert table.loc["TTFT p99, ms", "change"] == "-20.0 %"


def test_repeats_decide(made):
    made("older", EARLIER, repeats=3)
    _, table = found(made("now", LATER, repeats=3, faster=1.25))
    assert table["decision"].tolist() == ["better"] * len(table)
    _, table = found(made("again", "2026-11-30T11:00:00+00:00", repeats=3, faster=1.25))
    assert table["decision"].tolist() == ["same within 3 %"] * len(table)


def test_only_an_earlier_run_of_the_same_identity_counts(made):
    now = made("now", LATER)
    made("after", "2026-12-01T10:00:00+00:00")
    made("other rate", EARLIER, RunParams(target_qps=2.0))
    made("other data", EARLIER, dataset={"checksum": "sha256:0"})
    broken = made("broken", EARLIER)
    (broken / "params.yaml").write_text("{")
    assert found(now) == []
    shutil.rmtree(now / "performance")
    assert found(now) == []


def test_an_accuracy_test_compares_the_batch_at_any_rate(made):
    for name, begun, rate in (("older", EARLIER, 2.0), ("now", LATER, 3.0)):
        folder = made(name, begun, RunParams(target_qps=rate))
        result = RESULT | {"started_at": begun, "mode": "accuracy"}
        write_test(folder / "accuracy", result, seed_records())
    _, table = found(folder)
    assert table.index.tolist() == ["batch throughput, tokens/s"]
    assert table["change"].tolist() == ["+0.0 %"]
