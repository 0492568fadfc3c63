"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest
from helpers import echo_params

from vllm_loadgen.harness.session import Session


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A worker with an echo engine: 5 ms to the first token, 0.5 ms for each other."""
    log = tmp_path_factory.mktemp("echo") / "engine.log"
    params = echo_params(engine_options={"ttft_ms": 5.0, "tpot_ms": 0.5})
    with Session(params, "", log) as session:
        yield session
