"""An engine between two notebooks of a job."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from helpers import PROMPTS, ROOT, Leftovers, echo_params, running

from loadgen_study.runs import handover
from loadgen_study.runs.handover import ADDRESS, Handover
from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.engine_process import EngineProcess
from vllm_loadgen.records.result import Result
from vllm_loadgen.sockets import MOST_BYTES
from vllm_loadgen.traits import VLLM

pytestmark = [pytest.mark.process, pytest.mark.own_worker]


@pytest.fixture
def job():
    """What executes notebooks; nothing is left of it."""
    leftovers = Leftovers()
    with Handover() as job:
        yield job
    assert ADDRESS not in os.environ
    leftovers.check()


def start(tmp_path, **changes):
    return handover.open_session(echo_params(**changes), "", tmp_path / "engine.log")


def kernel(tmp_path, then: str = "handover.park(session)") -> int:
    """Another process loads the engine, uses it, and does this; returns the worker's id."""
    script = f"""
import os, sys
from pathlib import Path
from helpers import PROMPTS, echo_params
from loadgen_study.runs import handover
session = handover.open_session(echo_params(), "", Path({str(tmp_path / "engine.log")!r}))
folder = Path({str(tmp_path)!r}) / str(os.getpid())
folder.mkdir()
session.run(echo_params(), PROMPTS, "accuracy", folder)
print(session.pid, flush=True)
{then}
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return int(done.stdout.split()[-1])


def test_the_next_notebook_goes_on_with_the_engine(tmp_path, job, capsys):
    pid = kernel(tmp_path)
    with start(tmp_path) as session:
        assert session.pid == pid
        assert "loaded before, used again" in capsys.readouterr().out
        assert session.engine.engine == "echo"
        session.run(echo_params(), PROMPTS, "performance", tmp_path)
        handover.park(session)
    assert Result.read(tmp_path / "result.json").complete
    # Twice in a row.
    assert kernel(tmp_path) == pid
    assert running(pid)


def test_a_worker_that_waits_without_an_engine_loads_it(tmp_path, job, monkeypatch):
    monkeypatch.setattr(EngineProcess, "start", once(EngineProcess.start))
    job.prepare(tmp_path / "engine.log", VLLM.imports)
    job.prepare(tmp_path / "engine.log", VLLM.imports)  # one is there
    with start(tmp_path) as session:
        session.run(echo_params(), PROMPTS, "performance", tmp_path)
    assert Result.read(tmp_path / "result.json").complete


def test_nothing_computes_beside_a_notebook_that_wants_quiet(tmp_path, job):
    handover.wait_until_idle()  # nothing is there
    job.prepare(tmp_path / "engine.log", VLLM.imports)
    handover.wait_until_idle()
    parked, process = handover.claim()
    assert parked.engine is None
    # vLLM's own, it would say.
    assert ADDRESS not in psutil.Process(parked.pid).environ()
    assert process.pipe.poll()  # it has said that it is done
    assert psutil.Process(parked.pid).cpu_times().user > 1.0  # with vLLM's import
    handover.end(parked, process)


def once(made):
    """``made``, which may be called once."""
    calls = []

    def make(*given):
        assert not calls
        calls.append(given)
        return made(*given)

    return make


def test_a_worker_that_nobody_wants_ends_at_once(tmp_path):
    leftovers = Leftovers()
    begin = time.monotonic()
    with Handover() as job:
        job.prepare(tmp_path / "engine.log", VLLM.imports)
        time.sleep(1.0)  # into the import
    assert time.monotonic() - begin < 6
    leftovers.check()


def test_an_engine_that_nobody_fetches_ends_with_the_job(tmp_path):
    with Handover():
        pid = kernel(tmp_path)
        assert running(pid)
    assert not running(pid)


def test_a_job_that_is_killed_takes_the_waiting_engine_with_it(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
from test_handover import kernel
from vllm_loadgen.harness.engine_process import EngineProcess
from loadgen_study.runs.handover import Handover
with Handover():
    print(kernel(Path({str(tmp_path)!r})), flush=True)
    time.sleep(600)
"""
    leftovers = Leftovers()
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as executes:
        pid = int(executes.stdout.readline())
        assert running(pid)
        executes.kill()
    leftovers.check(pid)


@pytest.mark.parametrize("changes", [{"max_model_len": 1024}, {"engine_options": {"slots": 2}}])
def test_an_engine_of_other_parameters_is_ended_first(tmp_path, job, changes):
    pid = kernel(tmp_path)
    with start(tmp_path, **changes) as session:
        assert session.pid != pid
        assert not running(pid)


def test_one_that_has_died_meanwhile_is_loaded_anew(tmp_path, job):
    pid = kernel(tmp_path)
    os.kill(pid, 9)
    time.sleep(1.0)  # its threads hold its end of the pipe for a moment longer
    with start(tmp_path) as session:
        assert session.pid != pid
        assert session.alive


def test_a_notebook_that_is_killed_takes_its_engine_with_it(tmp_path, job):
    pid = kernel(tmp_path, "os._exit(0)")
    Leftovers().check(pid)
    with start(tmp_path) as session:
        assert session.pid != pid


def test_an_engine_that_dies_after_it_was_handed_over_is_one_error(tmp_path, job):
    kernel(tmp_path)
    with start(tmp_path) as session:
        os.kill(session.pid, 9)
        with pytest.raises(EngineError, match=r"the engine's process ended; its log is"):
            session.run(echo_params(), PROMPTS, "performance", tmp_path)
        assert not session.alive


def test_without_a_job_it_ends(tmp_path):
    session = start(tmp_path)
    handover.park(session)
    assert not running(session.pid)
    assert handover.claim() is None


def test_without_a_place_for_the_socket_each_loads_its_own(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("a file system without sockets")

    monkeypatch.setattr(handover, "Listener", refuse)
    with Handover():
        assert ADDRESS not in os.environ
        session = start(tmp_path)
        handover.park(session)
        assert not running(session.pid)


def test_a_long_temporary_directory_leaves_the_socket_a_short_one(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with Handover():
        assert len(os.environ[ADDRESS]) <= MOST_BYTES
        handover.wait_until_idle()
