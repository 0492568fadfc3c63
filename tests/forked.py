"""Workers forked from a process that has imported all they need: no start-up time.

Each is a process and a session of its own, with its own log, environment, folder and exit status,
as from ``EngineProcess.start``.
"""

import importlib
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
from multiprocessing import Pipe, resource_tracker
from pathlib import Path

from vllm_loadgen.files import report_os_errors
from vllm_loadgen.harness import engine_process

WORKER = "vllm_loadgen.harness.worker"
MOST_BYTES = 1 << 20  # of a request, which holds the environment
VLLM = sys.argv[2:] == ["vllm"]  # as the main module
NUMBER = struct.Struct("i")  # process id, and later exit status


class Forked:
    """A worker's handle: what ``EngineProcess`` needs of ``subprocess.Popen``."""

    def __init__(self, source: int) -> None:
        self._source, self._status = source, None
        (self.pid,) = NUMBER.unpack(os.read(source, NUMBER.size))
        os.set_blocking(source, False)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._status is None:
            try:
                (self._status,) = NUMBER.unpack(os.read(self._source, NUMBER.size))
            except BlockingIOError:
                return None
            os.close(self._source)
        return self._status


class Forks:
    """The process that forks workers; it starts with the first one and ends with its owner.

    Args:
        engine: "vllm" for workers whose vLLM is imported, and which fork vLLM's processes in turn.
    """

    def __init__(self, engine: str = "") -> None:
        self._peer: socket.socket | None = None
        self._engine = engine

    def start(self, log: Path, program: str = WORKER) -> engine_process.EngineProcess:
        """In place of ``EngineProcess.start``; ``program`` is a module with a ``main``."""
        self._peer = self._peer or _server(self._engine)
        pipe, theirs = Pipe()
        source, sink = os.pipe()
        request = json.dumps(
            {"cwd": os.getcwd(), "environment": engine_process._environment(), "program": program}
        )
        with report_os_errors(log), log.open("ab") as output:
            descriptors = [theirs.fileno(), output.fileno(), sink]
            socket.send_fds(self._peer, [request.encode()], descriptors)
        theirs.close()
        os.close(sink)
        child = Forked(source)
        made = engine_process.EngineProcess(child.pid, pipe)
        made._child = child
        return made


def _server(engine: str) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(theirs.fileno()), *filter(None, [engine])]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    theirs.close()
    return ours


def serve(peer: socket.socket) -> None:
    """Fork a worker for each request, until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a watcher leaves no zombie
    while True:
        request, descriptors, *_ = socket.recv_fds(peer, MOST_BYTES, 3)
        if not request:
            return
        if os.fork() == 0:
            peer.close()
            watch(json.loads(request), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def watch(request: dict, pipe: int, log: int, sink: int) -> None:
    """Fork the worker; send its process id, and its exit status when it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (pid := os.fork()) == 0:
        os.close(sink)
        work(request, pipe, log)
    os.close(pipe)
    os.close(log)
    os.write(sink, NUMBER.pack(pid))
    _, status = os.waitpid(pid, 0)
    os.write(sink, NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def work(request: dict, pipe: int, log: int) -> None:
    """Be the worker, or another program."""
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if VLLM:
        # The first process that is started anew starts it, too: it is this one's child.
        resource_tracker.ensure_running()
    sys.argv = ["-c", str(pipe)]
    try:
        importlib.import_module(request["program"]).main()
    finally:
        os._exit(1)


def import_vllm() -> None:
    """All that vLLM's three processes import, ten seconds each; they are forked as well.

    vLLM can be forked and does so on GPUs. On CPUs it starts each process anew, so that OpenMP
    reads on which cores its threads are to run: forked, they run where they like.
    """
    import setproctitle
    from vllm.utils import system_utils

    setproctitle.getproctitle()  # finds the place of the title, which a new environment hides
    system_utils.get_mp_context = lambda: multiprocessing.get_context("fork")
    from vllm.model_executor.models import llama  # noqa: F401
    from vllm.v1.engine import async_llm, core  # noqa: F401
    from vllm.v1.executor import multiproc_executor  # noqa: F401
    from vllm.v1.worker import cpu_worker  # noqa: F401


if __name__ == "__main__":
    if VLLM:
        import_vllm()
    import pandas as pd  # noqa: F401, which pyarrow would import at a worker's first table

    from vllm_loadgen.engines import echo  # noqa: F401
    from vllm_loadgen.harness import worker  # noqa: F401
    from vllm_loadgen.http import openai  # noqa: F401

    serve(socket.socket(fileno=int(sys.argv[1])))
