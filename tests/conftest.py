"""Fixtures that several test files share."""

import functools
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import checkpoints
import pytest
from forked import Forks
from helpers import echo_params
from hypothesis import HealthCheck, settings

from loadgen_study.inputs import models
from loadgen_study.inputs.hashes import cache_folder
from vllm_loadgen.harness.engine_process import EngineProcess
from vllm_loadgen.harness.session import Session

TRACED = Path(__file__).parent / "traced"
FORKS, VLLM_FORKS = Forks(), Forks("vllm")
# A shell that starts tests in the background lets them ignore interrupts, which some wait for.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The examples of properties (test_*_properties.py) are the same at every run. To look for others:
# --hypothesis-profile explore.
NO_TIME = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", max_examples=60, derandomize=True, **NO_TIME)
settings.register_profile("explore", max_examples=2000, print_blob=True, **NO_TIME)
settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Workers are forked (forked.py), but for tests of the start itself."""
    marks = {mark.name for mark in item.iter_markers()}
    with pytest.MonkeyPatch.context() as patch:
        if "own_worker" not in marks:
            forks = VLLM_FORKS if "engine" in marks else FORKS
            patch.setattr(EngineProcess, "start", forks.start)
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def leftovers_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each Python process that a test starts logs the shared memory it creates (traced/)."""
    log = tmp_path_factory.mktemp("leftovers") / "log"
    log.touch()
    path = os.pathsep.join(filter(None, [str(TRACED), os.environ.get("PYTHONPATH")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEFTOVERS_LOG", str(log))
        patch.setenv("PYTHONPATH", path)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_tokenizer() -> Iterator[None]:
    """The embedded checkpoint's tokenizer is read once: each reading is 0.4 s of a CPU."""
    load = models.load_tokenizer
    known = functools.cache(load)

    def loaded(folder: Path, trust_remote_code: bool = False) -> object:
        own = folder.parent == cache_folder()
        return (known if own else load)(folder, trust_remote_code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_tokenizer", loaded)
        yield


@pytest.fixture
def vllm_forks() -> Forks:
    """Starts processes that have imported vLLM."""
    return VLLM_FORKS


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for tests of vLLM's processes, not of what a model says."""
    return checkpoints.runnable(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module", autouse=True)
def environment_as_before() -> Iterator[None]:
    """An engine that a test starts without a worker sets vLLM's variables, and what it preloads,
    for all processes that start from here on."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A worker with an echo engine: 5 ms to the first token, 0.5 ms for each other."""
    log = tmp_path_factory.mktemp("echo") / "engine.log"
    params = echo_params(engine_options={"ttft_ms": 5.0, "tpot_ms": 0.5})
    with Session(params, "", log) as session:
        yield session
