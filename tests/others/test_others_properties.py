"""Other tools' results, damaged: figures come out, or one line of error."""

import json
from pathlib import Path

import pytest
from damage import damaged_bytes, damaged_json, known_errors
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.runs.compare import figures_table, origins_table, read_digest

FIXTURES = Path(__file__).parent / "fixtures"
CONTENTS = {
    name: json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("vllm_bench", "guidellm", "aiperf")
}
LOG = ROOT / "outputs" / "example" / "performance" / "mlperf_log_summary.txt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sent")


def read(name):
    found = read_digest(name)
    figures_table([found, found])
    origins_table([found, found])


@given(st.sampled_from(sorted(CONTENTS)).flatmap(lambda name: damaged_json(CONTENTS[name])))
def test_results_with_other_values(folder, content):
    path = folder / "r.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for name in (str(path), f"{path}#1"):
        with known_errors():
            read(name)


@given(damaged_bytes(json.dumps(CONTENTS["aiperf"]).encode()))
def test_results_with_other_bytes(folder, content):
    (folder / "b.json").write_bytes(content)
    with known_errors():
        read(str(folder / "b.json"))


@given(damaged_bytes(LOG.read_bytes()))
def test_a_summary_with_other_bytes(folder, content):
    place = folder / "logs"
    place.mkdir(exist_ok=True)
    (place / LOG.name).write_bytes(content)
    with known_errors():
        read(str(place))
