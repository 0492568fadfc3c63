import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from helpers import PROMPTS, ROOT, echo_params

from loadgen_study.facts.tables import read_records
from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.loadgen import expected_queries
from vllm_loadgen.harness.session import Session

pytestmark = pytest.mark.process


def slow_params(**changes):
    """A run that would last a minute."""
    return echo_params(target_qps=20.0, min_duration_ms=60_000, **changes)


@pytest.mark.own_worker
def test_an_interrupt_ends_a_run_in_seconds_and_keeps_the_records(tmp_path):
    session = Session(slow_params(), "", tmp_path / "engine.log")
    main = threading.get_ident()
    threading.Timer(2.0, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.run(slow_params(), PROMPTS, "performance", tmp_path)
    assert time.monotonic() - begin < 15
    assert not session.alive
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"
    assert len(read_records(tmp_path / "records.parquet")) > 10


def test_queries_that_loadgen_issues_while_an_interrupted_test_is_written_are_nobodys(tmp_path):
    params = echo_params(target_qps=3000.0, min_duration_ms=60_000)
    with Session(params, "", tmp_path / "engine.log") as session:
        main = threading.get_ident()
        threading.Timer(2.0, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            session.run(params, PROMPTS, "performance", tmp_path)
    known = json.loads((tmp_path / "result.json").read_text())
    assert known["status"] == "interrupted"
    assert known["queries"] == len(read_records(tmp_path / "records.parquet"))


def test_an_engine_that_dies_is_one_error_and_keeps_the_records(tmp_path):
    params = slow_params(engine_options={"fail_at": 12}, warmup_queries=0)
    with Session(params, "", tmp_path / "engine.log") as session:
        with pytest.raises(EngineError, match=r"the engine died: RuntimeError.*fails here"):
            session.run(params, PROMPTS, "performance", tmp_path)
        assert not session.alive
    records = read_records(tmp_path / "records.parquet")
    assert records["done_ns"].notna().sum() >= 12


@pytest.mark.own_worker
def test_a_crashed_worker_is_one_error(tmp_path):
    params = slow_params()
    with Session(params, "", tmp_path / "engine.log") as session:
        pid = session.pid
        threading.Timer(1.0, os.kill, (pid, signal.SIGSEGV)).start()
        with pytest.raises(EngineError, match="ended with status -11"):
            session.run(params, PROMPTS, "performance", tmp_path)


def test_a_bad_engine_option_is_one_error(tmp_path):
    params = echo_params(engine_options={"ttft_msec": 5})
    with pytest.raises(EngineError, match="ttft_msec"):
        Session(params, "", tmp_path / "engine.log")


def test_no_process_outlives_its_parent(tmp_path):
    script = f"""
from helpers import echo_params
from vllm_loadgen.harness.session import Session
from pathlib import Path
session = Session(echo_params(), "", Path({str(tmp_path / "engine.log")!r}))
print(session.pid, flush=True)
import os; os._exit(1)
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{os.environ['PYTHONPATH']}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    pid = int(done.stdout.split()[-1])
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.own_worker
def test_secrets_do_not_reach_the_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    with Session(echo_params(), "", tmp_path / "engine.log") as session:
        environment = psutil.Process(session.pid).environ()
    assert "hf_abcdefghijklmnop" not in environment.values()
    assert "PATH" in environment


def test_expected_queries_are_whole_passes():
    assert expected_queries(echo_params(), 16, "performance") == 64
    assert expected_queries(echo_params(scenario="Offline"), 16, "performance") == 64
    assert expected_queries(echo_params(), 16, "accuracy") == 16
    # At 100 queries/s for 0.5 s; the benchmark's own least number and samples where none is given.
    assert expected_queries(echo_params(performance_samples=10), 16, "performance") == 50
    official = echo_params(min_query_count=None, target_qps=1.0)
    assert expected_queries(official, 16, "performance") == 112
    assert expected_queries(official, 20_000, "performance") == 13_368
    offline = echo_params(scenario="Offline", min_query_count=None, target_qps=1.0)
    assert expected_queries(offline, 13_368, "performance") == 13_368


def test_an_engine_that_hangs_in_the_warm_up_is_seen_and_an_interrupt_ends_it(tmp_path):
    params = echo_params(engine_options={"ttft_ms": 3_600_000.0})
    session = Session(params, "", tmp_path / "engine.log")
    threading.Timer(1.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.run(params, PROMPTS, "performance", tmp_path)
    assert time.monotonic() - begin < 30  # and not the hour of the engine's answer
    assert not psutil.pid_exists(session.pid)


@pytest.mark.parametrize(
    ("warmup_queries", "words"),
    [(4, "the warm-up did not end within 1 s"), (0, "the engine gave no answer for 1 s")],
)
def test_an_engine_that_gives_no_answer_is_one_error(tmp_path, warmup_queries, words):
    params = echo_params(
        engine_options={"ttft_ms": 3_600_000.0}, stall_timeout_s=1, warmup_queries=warmup_queries
    )
    with Session(params, "", tmp_path / "engine.log") as session:
        with pytest.raises(EngineError, match=words):
            session.run(params, PROMPTS, "performance", tmp_path)
        assert not session.alive


def test_what_a_callback_raises_ends_the_test_at_once(tmp_path):
    # Of an empty prompt the echo engine has no first token to give.
    params = echo_params(warmup_queries=0)
    prompts = [[] for _ in PROMPTS]
    begin = time.monotonic()
    with (
        Session(params, "", tmp_path / "engine.log") as session,
        pytest.raises(EngineError, match="IndexError"),
    ):
        session.run(params, prompts, "performance", tmp_path)
    assert time.monotonic() - begin < 20
