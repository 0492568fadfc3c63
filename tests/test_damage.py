"""The watch of the tests of properties sees what it is there for."""

import os
import pickle
import subprocess

import pytest
from damage import known_errors, nothing_runs

from vllm_loadgen import BenchmarkError


@pytest.mark.parametrize(
    "act",
    [
        lambda: eval("1 + 1"),
        lambda: exec("a = 1"),
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=True),
        lambda: pickle.loads(pickle.dumps(BenchmarkError)),
    ],
)
def test_what_must_not_happen_is_seen(act):
    with pytest.raises(AssertionError), nothing_runs():
        act()


def test_errors_that_a_user_can_act_on_have_one_line():
    with known_errors():
        raise BenchmarkError("one line")
    with pytest.raises(AssertionError), known_errors():
        raise BenchmarkError("two\nlines")
    with pytest.raises(KeyError), known_errors():
        raise KeyError("raw")
