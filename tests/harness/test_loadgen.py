import json
from functools import partial

import numpy as np
import pytest
from helpers import PROMPTS, agrees_once, echo_params

from loadgen_study.analysis.metrics import latencies, metrics
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.facts.tables import read_records
from loadgen_study.params import RunParams
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.harness import loadgen
from vllm_loadgen.records.result import Result

pytestmark = pytest.mark.process


def just_below(theirs_ms, ours_ms, late_ms):
    """Whether both are the same time: ours is stamped before LoadGen is told, so never after it.

    By how much before is up to the machine (a busy one may stop us in between), so what depends
    on a few queries is given more room than the median, which is to agree closely.
    """
    clocks_ms = 0.1  # LoadGen reads another clock
    return theirs_ms - late_ms <= ours_ms <= theirs_ms + clocks_ms


def run(echo, params, folder, mode="performance"):
    folder.mkdir()
    echo.run(params, PROMPTS, mode, folder)
    return Result.read(folder / "result.json"), read_records(folder / "records.parquet")


@pytest.mark.parametrize(
    ("benchmark", "scenario", "ttft_ms", "tpot_ms", "samples"),
    [
        ("llama3_1-8b", "Server", 2000, 100, 13368),
        ("llama3_1-8b-interactive", "Server", 500, 30, 13368),
        ("llama3_1-8b-edge", "SingleStream", 0, 0, 5000),
        ("llama3_1-8b", "Offline", 0, 0, 13368),
    ],
)
def test_official_settings_at_every_call(benchmark, scenario, ttft_ms, tpot_ms, samples):
    params = RunParams(benchmark=benchmark, scenario=scenario)
    for _ in range(2):  # LoadGen's second FromConfig of a process is the trap
        settings = loadgen.official_settings(params)
        assert settings.use_token_latencies
        assert settings.min_duration_ms == 600_000
        assert settings.performance_sample_count_override == samples
        if ttft_ms:
            assert settings.ttft_latency == ttft_ms * 10**6
            assert settings.tpot_latency == tpot_ms * 10**6


def test_user_conf_holds_only_what_departs():
    official = RunParams(min_duration_ms=None, min_query_count=None, target_latency_percentile=None)
    assert loadgen.user_conf(official, 13368) == {"target_qps": 0.5}
    assert loadgen.user_conf(RunParams(), 48) == {
        "min_duration": 60_000,
        "min_query_count": 64,
        "performance_sample_count_override": 48,
        "target_qps": 0.5,
        "target_latency_percentile": 90.0,
    }


def test_a_performance_test_may_draw_from_fewer_samples():
    def drawn(samples, mode="performance", **changes):
        conf = loadgen.user_conf(RunParams(**changes), samples, mode)
        return conf.get("performance_sample_count_override")

    assert drawn(13368, performance_samples=100) == 100
    assert drawn(48, performance_samples=100) == 48
    assert drawn(13368) is None
    # An accuracy test asks for every sample.
    assert drawn(13368, "accuracy", performance_samples=100) is None
    assert drawn(48, "accuracy", performance_samples=10) == 48


def test_loadgen_draws_from_the_first_samples_and_issues_whole_passes_of_them(echo, tmp_path):
    params = echo_params(performance_samples=5, min_query_count=7)
    result, records = run(echo, params, tmp_path / "few")
    assert result.effective_settings.performance_sample_count == 5
    assert set(records["sample_index"]) == set(range(5))
    assert (records["sample_index"].value_counts() == len(records) / 5).all()
    assert len(records) == loadgen.expected_queries(params, len(PROMPTS), "performance")


def test_a_rate_that_was_not_offered_shows_in_when_queries_were_issued():
    params, seed = RunParams(target_qps=1000.0), 16159082839903944936
    due_s = loadgen.server_schedule_ns(seed, 1000.0, 500) / 1e9
    assert loadgen.offered_share(params, seed, list(due_s)) == 1
    assert loadgen.offered_share(params, seed, list(due_s + 0.004)) == 1  # late, and at the rate
    assert loadgen.offered_share(params, seed, list(due_s * 2)) == pytest.approx(0.5)
    # So late that the schedule itself is not believed.
    assert loadgen.offered_share(params, seed, list(due_s * 12)) == pytest.approx(1 / 12)
    offline = params.changed(scenario="Offline")
    assert loadgen.offered_share(offline, seed, list(due_s * 2)) == 1
    assert loadgen.offered_share(params, None, list(due_s * 2)) == 1


def test_a_schedule_that_does_not_fit_is_not_used():
    params, seed = RunParams(target_qps=1000.0), 16159082839903944936
    due = loadgen.server_schedule_ns(seed, 1000.0, 500)
    late = due + 3_000_000
    assert loadgen.schedule_ns(params, seed, late).tolist() == due.tolist()
    # As another C++ library might draw it.
    assert loadgen.schedule_ns(params, seed, loadgen.server_schedule_ns(seed, 250.0, 500)) is None


def test_a_key_that_did_not_take_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(loadgen.READ_BACK, "min_duratoin", ("min_duration_ms", 1))
    with pytest.raises(BenchmarkError, match="LoadGen ignored min_duratoin = 5"):
        loadgen.make_settings(RunParams(), "performance", {"min_duratoin": 5}, tmp_path / "u.conf")


def test_server_figures_agree_with_loadgens(echo, tmp_path):
    agrees_once(partial(server_figures, echo), tmp_path)


def server_figures(echo, folder):
    # 64 queries in 3 s: one more or fewer in a rate would be 50 ms.
    result, records = run(echo, echo_params(target_qps=20.0, min_query_count=50), folder)
    frame = latencies(records)
    log, own = result.loadgen_results, metrics(frame, "Server")
    assert result.status == "complete"
    assert result.verdict == log.validity == "VALID"
    assert (
        result.queries == log.number("query_count") == 64
    )  # 50 rounded up to passes of 16 samples
    assert (own.output_tokens.mean, own.output_tokens.total) == (32, 64 * 32)
    for name, key in (("ttft_ms", "first_token_"), ("latency_ms", "")):
        assert just_below(log.number(f"{key}mean_latency_ns") / 1e6, getattr(own, name).mean, 5)
        for share, late_ms in ((50, 1), (90, 20), (99, 50)):
            theirs = log.number(f"{key}{share}.00_percentile_latency_ns") / 1e6
            assert just_below(theirs, percentile(frame[name], share / 100), late_ms)
    assert own.tpot_ms.mean == pytest.approx(log.number("time_to_output_token_mean") / 1e6, abs=0.1)
    assert own.samples_per_s == pytest.approx(log.number("completed_samples_per_sec"), rel=5e-3)
    assert own.tokens_per_s == pytest.approx(log.number("completed_tokens_per_second"), rel=5e-3)


def test_server_schedule_is_loadgens(echo, tmp_path):
    result, records = run(echo, echo_params(), tmp_path / "schedule")
    last_s = records["scheduled_ns"].iloc[-1] / 1e9
    rate = (len(records) - 1) / last_s
    assert rate == pytest.approx(
        result.loadgen_results.number("scheduled_samples_per_sec"), rel=1e-4
    )
    assert (records["issued_ns"] >= records["scheduled_ns"]).all()


def test_offline_figures_agree_with_loadgens(echo, tmp_path):
    agrees_once(partial(offline_figures, echo), tmp_path)


def offline_figures(echo, folder):
    # Two at once make it last over a second: LoadGen's end is later than ours by what it does then.
    params = echo_params(scenario="Offline", target_qps=200.0, concurrency=2)
    result, records = run(echo, params, folder)
    log, own = result.loadgen_results, metrics(latencies(records), "Offline")
    assert (records["scheduled_ns"] == 0).all()
    assert len(records) % len(PROMPTS) == 0
    assert own.samples_per_s == pytest.approx(log.number("samples_per_second"), rel=0.05)
    assert own.tokens_per_s == pytest.approx(log.number("tokens_per_second"), rel=0.05)


def test_single_stream_has_one_query_in_flight(echo, tmp_path):
    params = echo_params(scenario="SingleStream", target_latency_ms=20.0, min_query_count=32)
    result, records = run(echo, params, tmp_path / "single")
    frame = latencies(records)
    assert (frame["issued_s"].to_numpy()[1:] >= frame["done_s"].to_numpy()[:-1]).all()
    assert result.loadgen_results.number("first_token_mean_latency_ns") > 5_000_000
    assert result.num_errors == 0


def test_accuracy_run_logs_every_sample_once(echo, tmp_path):
    params = echo_params(scenario="Offline")
    result, records = run(echo, params, tmp_path / "accuracy", "accuracy")
    log = json.loads((tmp_path / "accuracy" / "mlperf_log_accuracy.json").read_text())
    assert result.verdict is None
    assert sorted(entry["qsl_idx"] for entry in log) == list(range(len(PROMPTS)))
    by_index = {entry["qsl_idx"]: bytes.fromhex(entry["data"]) for entry in log}
    # The echo engine answers with the first tokens of the prompt.
    assert np.frombuffer(by_index[3], dtype="<i4").tolist() == PROMPTS[3][:32]
    assert {entry["token_count"] for entry in log} == {32}
    assert sorted(records["sample_index"]) == list(range(len(PROMPTS)))
