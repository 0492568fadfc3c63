"""Experiments side by side, on the echo engine over two Ray workers of this machine."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from helpers import Leftovers, echo_params, interrupt

from loadgen_study import LiveRun
from loadgen_study.runs import side_by_side, workers
from loadgen_study.runs.remote_worker import RemoteRunner, Setup, Step
from loadgen_study.runs.repeats import measure
from loadgen_study.runs.sweep import sweep
from loadgen_study.runs.tuning import tune
from vllm_loadgen import EngineError, ParameterError
from vllm_loadgen.harness.engine_process import MAIN

pytestmark = pytest.mark.process
DEADLINE_S = 120


def ray_processes() -> list[psutil.Process]:
    """Ray's processes among those that this one has started."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray" in one.name():
                found.append(one)
    return found


@pytest.fixture(scope="module")
def two_workers():
    """Ray on this machine for two echo engines at once; nothing of it is left in the end."""
    pytest.importorskip("ray")
    with workers.connected(echo_params(workers=2)) as found:
        assert found == 2
        assert ray_processes()
        yield
    assert not ray_processes()


@pytest.fixture
def slow(params):
    """Each query takes 100 ms, and there are 16 in a test."""
    options = {"ttft_ms": 100.0}
    return params.changed(scenario="Offline", min_query_count=16, engine_options=options, workers=2)


def until(happened):
    """What ``happened`` gives, as soon as it gives something."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := happened()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def engines() -> list[psutil.Process]:
    """The engines' processes, each beneath its worker."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if MAIN in one.cmdline():
                found.append(one)
    return found


def makes(engine: psutil.Process, test: str) -> bool:
    """Whether an engine is at this test: LoadGen has its logs open."""
    with suppress(psutil.Error):
        return any(f"/{test}/" in file.path for file in engine.open_files())
    return False


def note_hired(monkeypatch) -> list[str]:
    """The jobs that a worker is started for, from now on."""
    hired, hire = [], side_by_side._Pool._new_runner

    def noted(pool, one):
        hired.append(one.job.title)
        return hire(pool, one)

    monkeypatch.setattr(side_by_side._Pool, "_new_runner", noted)
    return hired


def layout(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_tuning_by_two_workers_is_as_one_after_another(params, two_workers, capsys, monkeypatch):
    # Both that can be measured are far slower than the base: what wins, chance would decide.
    options = [{"ttft_ms": 50.0, "slots": 4}, {"ttft_ms": 100.0}, {"ttft_msec": 1}]
    tuned = {"engine_options": options}
    params = params.changed(tune=tuned, scenario="Offline", min_query_count=16)
    with LiveRun.start(params.changed(run_name="one")) as run:
        expected = tune(run, lambda _: None)
    params = params.changed(run_name="two", workers=2)
    with LiveRun.start(params) as run:
        table = tune(run, lambda _: None)
    told = ["verdict", "rules", "problem"]
    assert list(table.columns) == list(expected.columns)
    assert table[told].equals(expected[told])
    assert "ttft_msec" in table.loc["ttft_msec=1", "problem"]
    assert layout(run.folder) == layout(run.folder.parent / "one")
    # All but the one that failed is there, so that no worker is asked for anything else.
    capsys.readouterr()
    hired = note_hired(monkeypatch)
    with LiveRun.start(params) as run:
        again = tune(run, lambda _: None)
    assert again.equals(table)
    assert hired == ["ttft_msec=1"]
    assert capsys.readouterr().out.count("performance: finished before, reused") == 4


def test_a_lost_worker_is_tried_once_more_and_then_recorded(slow, two_workers, monkeypatch):
    killed, hired = set(), note_hired(monkeypatch)
    victims = ["1-at-once", "2-at-once", "2-at-once"]

    def kill_each():
        """Kill the worker of each of these tests in its middle."""
        while victims:
            for engine in until(engines):
                worker = engine.parent()
                # An engine whose worker was killed lives on for a moment, beneath another parent.
                if worker is None or engine.pid in killed:
                    continue
                for test in [one for one in set(victims) if makes(engine, one)]:
                    killed.add(engine.pid)
                    victims.remove(test)
                    worker.kill()

    # Seconds each, for whoever looks which test is made.
    longer = slow.changed(min_query_count=64, sweep_concurrency=[1, 2])
    with LiveRun.start(longer) as run:
        thread = threading.Thread(target=kill_each, daemon=True)
        thread.start()
        with pytest.raises(EngineError, match="was lost 2 times"):
            sweep(run)
        thread.join(DEADLINE_S)
    assert sorted(hired) == ["sweep/1-at-once"] * 2 + ["sweep/2-at-once"] * 2
    assert list(run.read().finished_tests("sweep/*")) == ["sweep/1-at-once"]


def test_an_interrupt_ends_all_workers_and_keeps_what_was_finished(slow, two_workers):
    params = slow.changed(sweep_concurrency=[16, 1])
    leftovers, seen = Leftovers(), []
    with LiveRun.start(params) as run:
        first = run.folder / "sweep" / "16-at-once" / "result.json"
        here = threading.get_ident()

        def when_one_is_finished():
            until(first.is_file)
            seen.extend(one.pid for one in engines())
            interrupt(here)

        threading.Thread(target=when_one_is_finished, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            sweep(run)
    assert seen
    leftovers.check(*seen)
    assert list(run.read().finished_tests("sweep/*")) == ["sweep/16-at-once"]
    with LiveRun.start(params) as run:
        assert list(sweep(run).index) == ["1-at-once", "16-at-once"]


def test_repeats_are_made_by_workers_too(slow, two_workers):
    with LiveRun.start(slow.changed(repeats=2)) as run:
        measure(run)
    assert list(run.read().repeats("performance")) == ["performance", "performance-2"]


def test_a_worker_on_another_machine_makes_nothing(params, monkeypatch):
    monkeypatch.setattr("loadgen_study.progress.CallbackBar.callback", None)
    run = LiveRun.start(params)
    cpu = run.environment.cpu.model_copy(update={"model": "another CPU"})
    run.environment = run.environment.model_copy(update={"cpu": cpu})
    runner = RemoteRunner(Setup.of(run), run.samples)
    archive = runner.run_test(Step("performance"))
    runner.stop()
    assert "does not match the run: CPU = 'another CPU', not " in archive.problem


def test_what_was_made_in_another_way_is_refused_before_a_worker_starts(params, monkeypatch):
    params = params.changed(sweep_qps=[60.0])
    with LiveRun.start(params) as run:
        sweep(run)
    monkeypatch.setattr(workers, "connected", None)
    params = params.changed(sweep_qps=[50.0, 60.0], ttft_limit_ms=300, workers=2)
    with (
        LiveRun.start(params) as run,
        pytest.raises(ParameterError, match="sweep/60-qps was made with ttft_limit_ms = 200"),
    ):
        sweep(run)
