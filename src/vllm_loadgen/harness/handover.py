"""An engine that stays loaded from one notebook to the next of a job.

Each notebook has a kernel, which ends with it. The process that executes the notebooks holds the
loaded engine between them: the pipe to its worker is handed over a socket.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener, wait
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from tempfile import TemporaryDirectory

from vllm_loadgen.harness.engine_process import STOP_S, EngineProcess
from vllm_loadgen.harness.messages import Prepare, Start, Stop
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.sockets import short_folder

# Where the notebooks find the process that executes them.
ADDRESS = "VLLM_LOADGEN_HANDOVER"
PREPARE_S = 120.0  # at most
PREFIX, SOCKET = "vllm-loadgen-", "engine"


@dataclass(frozen=True)
class Left:
    """What is handed over: a worker, and what its engine was made from and became.

    Attributes:
        start, engine: None of a worker without an engine.
    """

    pid: int
    start: Start | None = None
    engine: EngineFacts | None = None


class Handover:
    """Holds one engine at most, and ends what nobody has fetched.

    Use it as a context manager around the notebooks. Where there can be no socket, each of them
    loads an engine of its own.

    Raises:
        BenchmarkError: if no temporary directory can be written, or none is short enough.
    """

    def __enter__(self) -> "Handover":
        self._held: tuple[Left, EngineProcess] | None = None
        self._ender = ThreadPoolExecutor(1)
        place = short_folder(len(f"{PREFIX}12345678/{SOCKET}"))
        self._folder = TemporaryDirectory(prefix=PREFIX, dir=place)  # only its owner may look in
        self._thread: threading.Thread | None = None
        address = str(Path(self._folder.name) / SOCKET)
        with suppress(OSError):  # a file system without sockets
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
            os.environ.pop(ADDRESS, None)
        self._folder.cleanup()
        self.dismiss()
        self._ender.shutdown()

    def prepare(self, log: Path) -> None:
        """Let a worker import vLLM, if none is held, while the next notebook imports the rest.

        Args:
            log: of the engine that it will load.
        """
        if self._thread is None or self._held is not None:
            return
        process = EngineProcess.start(log)
        process.pipe.send(Prepare())
        self._held = Left(process.pid), process

    def dismiss(self) -> None:
        """Begin to end what is held: no further notebook needs an engine."""
        self._ender.submit(self._end_held)

    def _end_held(self) -> None:
        if (held := self._held) is not None:
            self._held = None
            end(*held)

    def _serve(self) -> None:
        """Answer one notebook after another."""
        asked: object = None
        with self._listener:  # whatever ends the thread, nobody waits for it
            while asked != "end":
                # One that is killed in the middle of it takes its engine with it.
                with suppress(EOFError, OSError), self._listener.accept() as caller:
                    asked = caller.recv()
                    if isinstance(asked, Left):
                        self._end_held()
                        self._held = asked, _received(asked, caller)
                        caller.send(True)
                    elif asked == "fetch":
                        self._give(caller)
                    elif asked == "quiet":
                        self._wait_until_prepared()
                        caller.send(True)

    def _wait_until_prepared(self) -> None:
        """An engine that is loaded rests; a worker without one has answered, or has ended."""
        if self._held is not None and self._held[0].engine is None:
            wait([self._held[1].pipe], PREPARE_S)

    def _give(self, caller: Connection) -> None:
        held, self._held = self._held, None
        caller.send(held and held[0])
        if held is not None:
            # With a copy left here, the worker would not see the notebook's end.
            try:
                send_handle(caller, held[1].pipe.fileno(), None)
            finally:
                held[1].pipe.close()


def leave(left: Left, pipe: Connection) -> bool:
    """Hand a loaded engine over; False if nobody takes it.

    Args:
        pipe: to the worker; the caller closes its own.
    """
    with suppress(EOFError, OSError), _caller() as caller:
        caller.send(left)
        send_handle(caller, pipe.fileno(), None)
        return bool(caller.recv())
    return False


def fetch() -> tuple[Left, EngineProcess] | None:
    """The engine that was left, which is the caller's now; None if there is none."""
    with suppress(EOFError, OSError), _caller() as caller:
        caller.send("fetch")
        left: Left | None = caller.recv()
        if left is not None:
            return left, _received(left, caller)
    return None


def quiet() -> None:
    """Wait until nothing of the job computes beside the notebook that asks."""
    with suppress(EOFError, OSError), _caller() as caller:
        caller.send("quiet")
        caller.recv()


def _received(left: Left, caller: Connection) -> EngineProcess:
    """What the other end's ``send_handle`` hands over."""
    return EngineProcess(left.pid, Connection(recv_handle(caller)))


def discard() -> None:
    """End the engine that was left, if any: its device is wanted."""
    if (found := fetch()) is not None:
        end(*found)


def end(left: Left, process: EngineProcess) -> None:
    """End what was left."""
    if left.engine is None:  # it may be importing still, and listen to nobody
        process.kill()
    else:
        process.end(Stop(), STOP_S)


def _caller() -> Connection:
    """A connection to the process that holds the engine.

    Raises:
        OSError: if there is none.
    """
    if not (address := os.environ.get(ADDRESS)):
        raise FileNotFoundError("no notebook of a job")
    return Client(address, "AF_UNIX")
