import os
import subprocess
import sys

from vllm_loadgen.harness import engine_process


def test_marks_of_processes_that_are_gone_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_process, "SHARED", tmp_path)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command, start_new_session=True) as killed:
        names = [f"{killed.pid}_{os.getuid()}", f"{os.getpid()}_{os.getuid()}",
                 f"{2**22 + 1}_{os.getuid() + 1}", f"x_{os.getuid()}"]  # fmt: skip
        marks = [tmp_path / f"{engine_process.MARK}{name}" for name in names]
        for mark in marks:
            mark.touch()
        engine_process.end_session(killed.pid)
    # Its own is gone; those of the living, of other users and without a number stay.
    assert [mark.exists() for mark in marks] == [False, True, True, True]
