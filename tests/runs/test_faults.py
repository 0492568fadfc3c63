"""What breaks on purpose, on the echo engine: one error, nothing lost, nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import (
    ROOT,
    Leftovers,
    echo_params,
    interrupt,
    running,
    when_answered,
    write_articles,
)

from loadgen_study import LiveRun, Run
from loadgen_study.rules.verdict import effective_verdict
from vllm_loadgen import BenchmarkError, EngineError
from vllm_loadgen.harness.engine_process import STOP_S
from vllm_loadgen.harness.watch import TICK_S
from vllm_loadgen.records.columns import JOURNAL

pytestmark = pytest.mark.process


@pytest.fixture
def params(tmp_path):
    """Twenty queries a second for a minute."""
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    return echo_params(
        dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r", target_qps=20.0,
        min_duration_ms=60_000, engine_options={"ttft_ms": 2.0}, warmup_queries=0,
    )  # fmt: skip


@pytest.fixture
def leftovers():
    return Leftovers()


def check_partial(run: LiveRun, answered: int = 20) -> None:
    """The test is marked as partial, and what was answered is on the disk."""
    test = run.read().test("performance")
    assert test.result.status in ("interrupted", "failed")
    assert effective_verdict(test).status == "NOT VALID"
    assert test.records["done_ns"].count() >= answered
    assert test.metrics.completed >= answered


def check_again(run: LiveRun) -> None:
    """The same kernel can run again, in the same folder."""
    with LiveRun.start(run.params.changed(outputs=str(run.folder.parent), run_name="r",
                                          min_duration_ms=500)) as again:  # fmt: skip
        assert again.once("performance").result.complete


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_a_worker_that_is_killed_loses_seconds(params, leftovers, number):
    # LoadGen aborts by SIGABRT.
    with LiveRun.start(params) as run:
        pid = run.session().pid
        when_answered(run.folder / "performance", 20, os.kill, pid, number)
        with pytest.raises(EngineError, match=f"ended with status -{int(number)}"):
            run.perform("performance")
        leftovers.check(pid)
        check_partial(run)
    check_again(run)


def impatient(monkeypatch, act: Callable[..., object], *args: object) -> None:
    """Do something that stops the worker, and be patient with it no longer: its start may last."""
    monkeypatch.setattr("vllm_loadgen.harness.session.GRACE_S", 1.0)
    time.sleep(2 * TICK_S)  # the limit of the next message
    act(*args)


def test_a_worker_that_is_stopped_is_seen(params, leftovers, monkeypatch):
    with LiveRun.start(params.changed(stall_timeout_s=2)) as run:
        pid = run.session().pid
        when_answered(run.folder / "performance", 20, impatient, monkeypatch, os.kill, pid,
                      signal.SIGSTOP)  # fmt: skip
        with pytest.raises(EngineError, match="process stood still for 2 s and was ended"):
            run.perform("performance")
        leftovers.check(pid)
        check_partial(run)
    check_again(run)


SCRIPT = """
import sys
from loadgen_study import LiveRun, RunParams
with LiveRun.start(RunParams.from_yaml(sys.argv[1])) as run:
    print(run.session().pid, flush=True)
    run.perform("performance")
"""


def test_a_kernel_that_is_killed_loses_seconds(params, tmp_path, leftovers):
    given = tmp_path / "given.yaml"
    given.write_text(params.to_yaml())
    command = [sys.executable, "-c", SCRIPT, str(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as kernel:
        worker = int(kernel.stdout.readline())
        killed = threading.Event()
        folder = tmp_path / "out/r/performance"
        when_answered(folder, 20, lambda: (kernel.kill(), killed.set()))
        assert killed.wait(60)
    leftovers.check(kernel.pid, worker)
    run = Run.open(tmp_path / "out" / "r")
    test = run.test("performance")
    assert test.result.status == "interrupted"
    assert test.metrics.completed >= 20
    with LiveRun.start(params.changed(min_duration_ms=500)) as again:
        assert again.once("performance").result.complete


def stuck_in_writing(folder: Path) -> None:
    """What the worker writes next to this file's name, nobody reads."""
    os.mkfifo(folder / "telemetry.parquet.part")


def test_an_interrupt_of_the_writing_leaves_nothing(params, leftovers, monkeypatch):
    monkeypatch.setattr("vllm_loadgen.harness.session.ABORT_S", 1.0)
    with LiveRun.start(params.changed(min_duration_ms=4000)) as run:
        pid = run.session().pid
        folder, kernel = run.folder / "performance", threading.get_ident()
        when_answered(folder, 20, stuck_in_writing, folder)
        when_answered(folder, 60, threading.Timer(2.0, interrupt, (kernel,)).start)
        with pytest.raises(KeyboardInterrupt):
            run.perform("performance")
        leftovers.check(pid)
        check_partial(run, answered=72)  # all of it is in the journal
    check_again(run)


def test_a_writing_that_stands_still_is_seen(params, leftovers, monkeypatch):
    with LiveRun.start(params.changed(min_duration_ms=4000, stall_timeout_s=2)) as run:
        pid = run.session().pid
        folder = run.folder / "performance"
        when_answered(folder, 20, impatient, monkeypatch, stuck_in_writing, folder)
        with pytest.raises(EngineError, match="process stood still for 2 s"):
            run.perform("performance")
        leftovers.check(pid)
        check_partial(run, answered=72)
    check_again(run)


def test_an_interrupt_of_the_end_leaves_nothing(params, leftovers):
    run = LiveRun.start(params)
    pid = run.session().pid
    os.kill(pid, signal.SIGSTOP)  # so that the end takes all of its patience
    threading.Timer(1.0, interrupt, (threading.get_ident(),)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.close()
    assert time.monotonic() - begin < STOP_S
    leftovers.check(pid)


def test_a_refused_query_is_one_failed_query(params):
    short = params.changed(min_duration_ms=500, engine_options={"refuse_at": 3})
    with LiveRun.start(short) as run:
        test = run.perform("performance")
    assert test.result.complete
    assert test.result.refused == 1
    verdict = effective_verdict(test)
    assert verdict.text == "NOT VALID: the engine refused 1 query"
    (reason,) = test.result.refused_because
    assert reason == "ValueError: the echo engine refuses this, as requested"
    assert test.metrics.completed == test.metrics.samples - 1


def test_an_engine_that_refuses_all_is_one_error(params, leftovers):
    short = params.changed(engine_options={"refuse_at": 0}, warmup_queries=1)
    with LiveRun.start(short) as run:
        pid = run.session().pid
        with pytest.raises(EngineError, match="the warm-up had no answer: ValueError"):
            run.perform("performance")
        leftovers.check(pid)


@pytest.fixture
def disk(tmp_path):
    """A disk of one MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk of its own takes the right to mount one")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0" * 1024)


def test_a_disk_that_fills_up_ends_the_test(params, disk, leftovers):
    with LiveRun.start(params.changed(outputs=str(disk))) as run:
        pid = run.session().pid
        when_answered(run.folder / "performance", 20, fill, disk)
        with pytest.raises(EngineError, match=r"cannot be written: .*No space left"):
            run.perform("performance")
        leftovers.check(pid)
        check_partial(run)
        (disk / "filler").unlink()
    check_again(run)


def test_a_full_disk_before_the_test(params, disk):
    with LiveRun.start(params.changed(outputs=str(disk))) as run:
        run.session()
        fill(disk)
        with pytest.raises(BenchmarkError, match=r"cannot be written: No space left.* Make room"):
            run.perform("performance")
        (disk / "filler").unlink()
    check_again(run)


def test_a_folder_that_became_read_only(params, disk):
    with LiveRun.start(params.changed(outputs=str(disk))) as run:
        run.session()
        run.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(BenchmarkError, match=r"cannot be written: Read-only file system"):
            run.perform("performance")
        with pytest.raises(BenchmarkError, match=r"outputs = .*cannot be written: Read-only"):
            LiveRun.start(params.changed(outputs=str(disk)))
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    check_again(run)


def test_a_finished_test_leaves_no_journal(params):
    with LiveRun.start(params.changed(min_duration_ms=500)) as run:
        run.perform("performance")
        pid = run.session().pid
        assert running(pid)
    assert not list(run.folder.rglob(JOURNAL))
