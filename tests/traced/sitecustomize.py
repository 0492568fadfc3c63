"""Python imports this in each process that a test starts: it logs what the process shares, and
under make coverage lets a worker, which ends by killing itself, write first what it reached.

A line is "process ID" or "shared NAME" (in /dev/shm). helpers.Leftovers reads them, so that a test
is not blamed for another program's shared memory.
"""

import os

LOG = os.environ.get("LEFTOVERS_LOG")


def log(line):
    with open(LOG, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


if LOG:
    import _posixshmem

    shm_open = _posixshmem.shm_open

    def logged_open(path, flags, mode=0o777):
        """``shm_open``, logged where it creates."""
        opened = shm_open(path, flags, mode=mode)
        if flags & os.O_CREAT:
            log(f"shared {path.lstrip('/')}")
        return opened

    _posixshmem.shm_open = logged_open
    os.register_at_fork(after_in_child=lambda: log(f"process {os.getpid()}"))
    log(f"process {os.getpid()}")

if "COVERAGE_PROCESS_CONFIG" in os.environ:
    from signal import SIGKILL

    from coverage import Coverage

    kill = os.kill

    def saved_kill(pid, number):
        """``kill``, after what was measured is written."""
        if (pid, number) == (os.getpid(), SIGKILL) and (measured := Coverage.current()):
            measured.save()
        kill(pid, number)

    os.kill = saved_kill
