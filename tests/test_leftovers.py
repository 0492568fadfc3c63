"""A test is blamed for the shared memory that its own processes leave, and for no other."""

import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing import shared_memory
from pathlib import Path

import pytest
from helpers import Leftovers

CREATE = """
import os
from multiprocessing import resource_tracker, shared_memory
resource_tracker.register = lambda *_: None
made = shared_memory.SharedMemory(create=True, size=8)
mark = f"/dev/shm/__KMP_REGISTERED_LIB_{os.getpid()}_{os.getuid()}"
open(mark, "w").close()
print(made.name, os.path.basename(mark))
"""


def created(**environment):
    """Names of the shared memory that a process creates and leaves."""
    env = {**os.environ, **environment}
    command = [sys.executable, "-c", CREATE]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def removed():
    """Shared memory by name; it is removed after the test."""
    names = []
    yield names
    for name in names:
        with suppress(OSError):
            (Path("/dev/shm") / name).unlink()


def test_what_a_process_of_this_test_leaves_is_found(removed):
    leftovers = Leftovers()
    removed += created().split()
    assert leftovers._problems([]) == set(removed)


def test_what_another_program_leaves_is_not(removed):
    leftovers = Leftovers()
    removed += created(LEFTOVERS_LOG="").split()
    segment = shared_memory.SharedMemory(create=True, size=8)
    segment.close()
    removed.append(segment.name)
    assert not leftovers._problems([])
    segment.unlink()
