"""The real engine broken on purpose: one error, what was measured is kept, nothing is left."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from helpers import ROOT, Leftovers, interrupt, when_answered

from loadgen_study.facts.tables import read_records
from loadgen_study.params import RunParams
from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.session import Session
from vllm_loadgen.records.result import Result

pytestmark = pytest.mark.engine
PROMPTS = [list(range(100 + i, 116 + i)) for i in range(8)]
# One answer after another, about a minute of them.
PARAMS = RunParams(
    scenario="SingleStream", dtype="float32", max_new_tokens=8, min_duration_ms=60_000,
    min_query_count=8, warmup_queries=2, warmup_max_s=0, max_model_len=256, cpu_kv_cache_gib=1,
    stall_timeout_s=10, target_latency_ms=1.0,
)  # fmt: skip


@pytest.fixture
def path(small_model):
    return small_model


@pytest.fixture
def leftovers():
    return Leftovers()


def engine_core(session: Session) -> int:
    """The process id of vLLM's engine core."""
    children = psutil.Process(session.pid).children(recursive=True)
    return next(child.pid for child in children if "EngineCore" in " ".join(child.cmdline()))


def test_a_query_that_is_refused_and_then_an_engine_core_that_is_killed(path, tmp_path, leftovers):
    short = PARAMS.changed(min_duration_ms=100)
    prompts = [*PROMPTS[:7], list(range(300))]  # longer than max_model_len
    refused, killed = tmp_path / "refused", tmp_path / "killed"
    with Session(PARAMS, path, tmp_path / "engine.log") as session:
        session.run(short, prompts, "performance", refused)
        assert session.alive
        ends_a_test(session, killed, leftovers, signal.SIGKILL, "the engine died: EngineDeadError")
    result = Result.read(refused / "result.json")
    assert result.complete
    assert result.refused == result.queries / 8
    assert "300" in result.refused_because[0]
    assert "256" in result.refused_because[0]


def test_an_engine_core_that_is_stopped(path, tmp_path, leftovers):
    with Session(PARAMS, path, tmp_path / "engine.log") as session:
        words = "the engine gave no answer for 10 s"
        ends_a_test(session, tmp_path / "stopped", leftovers, signal.SIGSTOP, words)


def ends_a_test(session, folder, leftovers, number, words):
    """A signal to the engine core ends the test by this error, and its records are kept."""
    core = engine_core(session)
    when_answered(folder, 2, os.kill, core, number)
    with pytest.raises(EngineError, match=words):
        session.run(PARAMS, PROMPTS, "performance", folder)
    leftovers.check(session.pid, core)
    assert Result.read(folder / "result.json").status == "failed"
    assert read_records(folder / "records.parquet")["done_ns"].count() >= 2


@pytest.mark.own_worker
def test_an_interrupt_while_the_engine_loads(path, tmp_path, leftovers):
    threading.Timer(6.0, interrupt, (threading.get_ident(),)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Session(PARAMS, path, tmp_path / "engine.log")
    assert time.monotonic() - begin < 20
    leftovers.check()


SCRIPT = """
import sys
from pathlib import Path
from vllm_loadgen.harness.session import Session
from loadgen_study.params import RunParams
Session(RunParams.from_yaml(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
"""


def test_a_kernel_that_is_killed_while_the_engine_loads(path, tmp_path, leftovers):
    (tmp_path / "p.yaml").write_text(PARAMS.to_yaml())
    given = [str(tmp_path / "p.yaml"), str(path), str(tmp_path / "engine.log")]
    with subprocess.Popen([sys.executable, "-c", SCRIPT, *given], cwd=ROOT) as kernel:
        deadline = time.monotonic() + 120
        while not (children := psutil.Process(kernel.pid).children(recursive=True)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(5.0)  # into vLLM's own loading
        children = psutil.Process(kernel.pid).children(recursive=True)
        kernel.kill()
    leftovers.check(*(child.pid for child in children))


def test_more_memory_than_there_is(path, tmp_path, leftovers, monkeypatch):
    # More than an address has bits for, or a machine that overcommits would give it; the parameter
    # is what counts, whatever the environment says.
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    huge = PARAMS.changed(cpu_kv_cache_gib=1_000_000)
    with pytest.raises(EngineError) as caught:
        Session(huge, path, tmp_path / "engine.log")
    assert "memory" in str(caught.value).lower()
    leftovers.check()
