"""An engine that one file adds: this one. Another distribution does it with the same two things."""

import os
from pathlib import Path

import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun, ParameterError, RunParams
from loadgen_study.report.parameters import parameters_table
from loadgen_study.report.report import Report
from loadgen_study.runs.compare import changed_table, digest
from vllm_loadgen.engines.base import Engine
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.traits import EngineTraits, engines

ENTRY_POINT = "[vllm_loadgen.engines]\ndummy = test_dummy_engine:TRAITS\n"
TRAITS = EngineTraits(
    make="test_dummy_engine:Dummy", title="Dummy", runs_model=False, packages={"pytest": ""}
)


class Dummy(Engine):
    """Answers each prompt with its beginning, at once."""

    def __init__(self, params, model_path, key):
        self.length = params.max_new_tokens

    async def start(self):
        return EngineFacts(engine="dummy", version="9")

    def submit(self, row, prompt, sink, most_tokens=None):
        sink.first(row, prompt[0], None)
        sink.done(row, prompt[1 : self.length])

    async def stop(self):
        pass


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """The distribution that names the engine, for this process and for those that it starts."""
    folder = tmp_path / "site" / "dummy-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: dummy\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINT)
    places = [str(folder.parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.syspath_prepend(str(folder.parent))
    engines.cache_clear()
    yield
    engines.cache_clear()


def test_its_name_is_a_parameter():
    params = RunParams(engine="dummy")
    assert parameters_table(params).loc["engine", "value"] == "dummy"
    assert params.engine_traits.title == "Dummy"
    with pytest.raises(ParameterError, match="engine = 'dumy': is none of vllm, openai, echo, du"):
        RunParams.from_dict({"engine": "dumy"})
    with pytest.raises(ParameterError, match="serve = True: starts no dummy"):
        RunParams.from_dict({"engine": "dummy", "serve": True})


@pytest.mark.process
@pytest.mark.own_worker
def test_it_makes_a_run_that_is_judged_reported_and_compared(tmp_path):
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    params = echo_params(dataset=str(dataset), outputs=str(tmp_path / "out"), max_new_tokens=4)
    runs = []
    for engine in ("echo", "dummy"):
        with LiveRun.start(params.changed(engine=engine, run_name=engine)) as live:
            live.perform("performance")
        runs.append(live.read())
    made = runs[1]
    assert made.performance.result.verdict == "VALID"
    assert (made.engine.engine, made.engine.version) == ("dummy", "9")
    assert made.environment.packages["pytest"] == pytest.__version__
    report = Report(made)
    for name in ("headline", "summary", "throughput", "latency", "configuration", "provenance"):
        assert getattr(report, name)().parts, name
    _, *tables = report.conformance().parts
    assert any("none (dummy engine)" in table.to_string() for table in tables)
    differs = changed_table([digest(run) for run in runs])
    assert differs.loc["engine"].tolist() == ["echo", "dummy"]
