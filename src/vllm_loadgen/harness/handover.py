"""An engine that stays loaded from one notebook to the next of a job.

Each notebook has a kernel, which ends with it. The process that executes the notebooks holds the
loaded engine between them: the pipe to its worker is handed over a socket.
"""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from tempfile import TemporaryDirectory

from vllm_loadgen.facts.inputs import EngineFacts
from vllm_loadgen.harness.engine_process import STOP_S, EngineProcess
from vllm_loadgen.harness.messages import Start, Stop

# Where the notebooks find the process that executes them.
ADDRESS = "VLLM_LOADGEN_HANDOVER"


@dataclass(frozen=True)
class Loaded:
    """An engine that is handed over: what it was made from and became, and its worker."""

    start: Start
    engine: EngineFacts
    pid: int


class Handover:
    """Holds one loaded engine at most, and ends what nobody has fetched.

    Use it as a context manager around the notebooks. Where there can be no socket, each of them
    loads an engine of its own.
    """

    def __enter__(self) -> "Handover":
        self._held: tuple[Loaded, int] | None = None
        self._folder = TemporaryDirectory(prefix="vllm-loadgen-")  # only its owner may look in
        self._thread: threading.Thread | None = None
        address = str(Path(self._folder.name) / "engine")
        with suppress(OSError):  # a path of over 107 characters
            self._listener = Listener(address, "AF_UNIX")
            self._thread = threading.Thread(target=self._serve, name="handover", daemon=True)
            self._thread.start()
            os.environ[ADDRESS] = address
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            with suppress(OSError), _caller() as caller:
                caller.send("end")
            self._thread.join()
            self._listener.close()
            os.environ.pop(ADDRESS, None)
        self._folder.cleanup()
        self._end_held()

    def _end_held(self) -> None:
        if (held := self._held) is not None:
            self._held = None
            process = EngineProcess(held[0].pid, Connection(held[1]))
            process.end(Stop(), STOP_S)

    def _serve(self) -> None:
        """Answer one notebook after another."""
        asked: object = None
        while asked != "end":
            # One that is killed in the middle of it takes its engine with it.
            with suppress(EOFError, OSError), self._listener.accept() as caller:
                asked = caller.recv()
                if isinstance(asked, Loaded):
                    self._end_held()
                    self._held = asked, recv_handle(caller)
                elif asked == "fetch":
                    self._give(caller)

    def _give(self, caller: Connection) -> None:
        held, self._held = self._held, None
        caller.send(held and held[0])
        if held is not None:
            # With a copy left here, the worker would not see the notebook's end.
            try:
                send_handle(caller, held[1], None)
            finally:
                os.close(held[1])


def leave(loaded: Loaded, pipe: Connection) -> bool:
    """Hand a loaded engine over; False if nobody takes it.

    Args:
        pipe: to the worker; the caller closes its own.
    """
    with suppress(OSError), _caller() as caller:
        caller.send(loaded)
        send_handle(caller, pipe.fileno(), None)
        return True
    return False


def fetch() -> tuple[Loaded, EngineProcess] | None:
    """The engine that was left, which is the caller's now; None if there is none."""
    with suppress(EOFError, OSError), _caller() as caller:
        caller.send("fetch")
        loaded: Loaded | None = caller.recv()
        if loaded is not None:
            return loaded, EngineProcess(loaded.pid, Connection(recv_handle(caller)))
    return None


def discard() -> None:
    """End the engine that was left, if any: its device is wanted."""
    if (found := fetch()) is not None:
        found[1].end(Stop(), STOP_S)


def _caller() -> Connection:
    """A connection to the process that holds the engine.

    Raises:
        OSError: if there is none.
    """
    if not (address := os.environ.get(ADDRESS)):
        raise FileNotFoundError("no notebook of a job")
    return Client(address, "AF_UNIX")
