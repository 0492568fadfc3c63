"""The real engine under the real LoadGen, one run a scenario, with one load of the model."""

import inspect
import json
import re
from contextlib import nullcontext
from functools import partial

import pytest
from helpers import ROOT, agrees_once

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.facts.tables import read_records
from loadgen_study.inputs import data, models
from loadgen_study.params import RunParams
from vllm_loadgen.engines.vllm import engine_args
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.harness.session import Session
from vllm_loadgen.records.result import Result

pytestmark = [pytest.mark.engine, pytest.mark.own_worker]
PARAMS = RunParams(
    num_samples=4, max_new_tokens=12, min_duration_ms=1000, min_query_count=4, target_qps=2.0,
    target_latency_ms=1500.0, warmup_queries=2, warmup_max_s=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def samples():
    tokenizer = models.prompt_tokenizer(models.resolve(PARAMS.model))
    return data.load_samples(PARAMS, tokenizer)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    log = tmp_path_factory.mktemp("vllm") / "engine.log"
    path = models.resolve(PARAMS.model)
    params = PARAMS.changed(dtype=models.resolve_dtype(PARAMS.dtype, path))
    with Session(params, path, log) as session:
        yield session


@pytest.mark.parametrize("scenario", ["Offline", "Server", "SingleStream"])
def test_each_scenario(session, samples, tmp_path, scenario):
    agrees_once(partial(one_scenario, session, samples, scenario), tmp_path)


def one_scenario(session, samples, scenario, folder):
    session.run(PARAMS.changed(scenario=scenario), samples.prompts, "performance", folder)
    result = Result.read(folder / "result.json")
    records = read_records(folder / "records.parquet")
    frame, log = latencies(records), result.loadgen_results
    own = metrics(frame, scenario)
    assert result.num_errors == 0
    assert frame.notna().all(axis=None)
    assert (frame["output_tokens"].between(1, 12)).all()
    # A query is due, issued, begun, answered first and done, in this order.
    times = frame[["scheduled_s", "issued_s", "started_s", "first_token_s", "done_s"]]
    assert (times.diff(axis=1).iloc[:, 1:] >= -0.001).all(axis=None)
    key = {"Offline": "samples_per_second", "Server": "completed_samples_per_sec"}.get(scenario)
    if key:
        assert own.samples_per_s == pytest.approx(log.number(key), rel=0.05)
    if scenario != "Offline":
        theirs = log.number("first_token_mean_latency_ns") / 1e6
        assert own.ttft_ms.mean == pytest.approx(theirs, rel=0.1)


def test_answers_are_text_of_the_model(session, samples, tmp_path):
    session.run(PARAMS.changed(scenario="Offline"), samples.prompts, "accuracy", tmp_path)
    log = json.loads((tmp_path / "mlperf_log_accuracy.json").read_text())
    tokenizer = models.prompt_tokenizer(models.resolve(PARAMS.model))
    for entry in log:
        ids = [int.from_bytes(bytes.fromhex(entry["data"])[i : i + 4], "little")
               for i in range(0, len(entry["data"]) // 2, 4)]  # fmt: skip
        assert len(ids) == entry["token_count"]
        assert len(tokenizer.decode(ids, skip_special_tokens=True).split()) >= 4


def test_the_readmes_example_of_the_system_under_test(session, tmp_path, monkeypatch, capsys):
    """With the engine that is loaded, whose constructor is called as the example calls it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
               if "from vllm_loadgen" in block]  # fmt: skip

    def loaded(*args):
        inspect.signature(Session).bind(*args)
        return nullcontext(session)

    monkeypatch.setattr("vllm_loadgen.Session", loaded)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "MLPerf Results Summary" in capsys.readouterr().out
    records = read_records(tmp_path / "my-test" / "records.parquet")
    assert records["input_tokens"].value_counts().index.isin([3, 4]).all()
    assert records["output_tokens"].between(1, PARAMS.max_new_tokens).all()  # as it was loaded


def test_an_option_that_vllm_does_not_have():
    with pytest.raises(ParameterError, match=r"engine_options.block_sise"):
        engine_args(PARAMS.changed(engine_options={"block_sise": 1}), "x")
