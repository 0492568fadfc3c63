"""A worker's memory while there are ever more queries (tests/benchmarks/load.py has 10^6)."""

from pathlib import Path

import pytest
from helpers import PROMPTS, echo_params

from vllm_loadgen.harness.session import Session
from vllm_loadgen.records.result import Result

QUERIES = (8_000, 32_000)
QPS = 4_000.0  # which the busiest machine keeps up with: what waits takes memory too
RECORD_BYTES = 64
# LoadGen's own notes are three records; the due times, the table and its parquet, in their making
# at the test's end, eight; in Offline the answers that come all at once, three. A Python object for
# each column of a record would be five more, and a list of a query's tokens as many.
FACTOR = 24

pytestmark = [pytest.mark.process, pytest.mark.own_worker]


def peak_bytes(pid):
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("scenario", ["Server", "Offline"])
def test_a_query_takes_the_memory_of_its_record_and_no_list_of_objects(tmp_path, scenario):
    def peak_after(queries):
        folder = tmp_path / str(queries)
        folder.mkdir()
        asked = params.changed(min_query_count=queries)
        session.run(asked, PROMPTS, "performance", folder)
        result = Result.read(folder / "result.json")
        assert result.queries >= queries
        return peak_bytes(session.pid), result.queries

    params = echo_params(scenario=scenario, target_qps=QPS, min_duration_ms=1, max_new_tokens=2)
    with Session(params, "", tmp_path / "engine.log") as session:
        (few, fewer), (many, more) = map(peak_after, QUERIES)
    assert (many - few) / (more - fewer) < FACTOR * RECORD_BYTES
