"""An engine that stays loaded from one notebook of a job to the next.

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

from loadgen_study import progress
from vllm_loadgen.harness.engine_process import STOP_S, EngineProcess
from vllm_loadgen.harness.messages import Prepare, Start
from vllm_loadgen.harness.session import Session
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.sockets import short_folder

# Where the notebooks find the process that executes them.
ADDRESS = "VLLM_LOADGEN_HANDOVER"
PREPARE_S = 120.0  # at most
PREFIX, SOCKET = "vllm-loadgen-", "engine"


@dataclass(frozen=True)
class ParkedEngine:
    """A worker between two notebooks, with the command that loaded its engine.

    Attributes:
        start, engine: None of a worker without an engine.
    """

    pid: int
    start: Start | None = None
    engine: EngineFacts | None = None

    def receive(self, peer: Connection) -> EngineProcess:
        """The process, with the pipe that the peer hands over by ``send_handle``."""
        return EngineProcess(self.pid, Connection(recv_handle(peer)))


class Handover:
    """Holds one worker at most, and ends one that no notebook has claimed.

    Use it as a context manager around the notebooks. Where there can be no socket, each of them
    loads an engine of its own.

    Raises:
        BenchmarkError: if no temporary directory can be written, or none is short enough.
    """

    def __enter__(self) -> "Handover":
        self._held: tuple[ParkedEngine, EngineProcess] | None = None
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
            with suppress(OSError), _job() as job:
                job.send("end")
            self._thread.join()
            os.environ.pop(ADDRESS, None)
        self._folder.cleanup()
        self.dismiss()
        self._ender.shutdown()

    def prepare(self, log: Path, module: str) -> None:
        """Let a worker import a module, if none is held, while the next notebook imports the rest.

        Args:
            log: of the engine that it will load. module: of ``EngineTraits.imports``.
        """
        if self._thread is None or self._held is not None:
            return
        process = EngineProcess.start(log)
        process.pipe.send(Prepare(module))
        self._held = ParkedEngine(process.pid), process

    def dismiss(self) -> None:
        """Begin to end what is held: no further notebook needs an engine."""
        self._ender.submit(self._end_held)

    def _end_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            end(*held)

    def _serve(self) -> None:
        message: object = None
        with self._listener:  # whatever ends the thread, nobody waits for it
            while message != "end":
                # A notebook killed in the middle of it also loses its engine.
                with suppress(EOFError, OSError), self._listener.accept() as notebook:
                    message = notebook.recv()
                    if isinstance(message, ParkedEngine):
                        self._end_held()
                        self._held = message, message.receive(notebook)
                        notebook.send(True)
                    elif message == "claim":
                        self._give(notebook)
                    elif message == "wait":
                        # A loaded engine is idle; a worker without one sends when it is.
                        if self._held is not None and self._held[0].engine is None:
                            wait([self._held[1].pipe], PREPARE_S)
                        notebook.send(True)

    def _give(self, notebook: Connection) -> None:
        held, self._held = self._held, None
        notebook.send(held and held[0])
        if held is not None:
            # With a copy left here, the worker would not see the notebook's end.
            try:
                send_handle(notebook, held[1].pipe.fileno(), None)
            finally:
                held[1].pipe.close()


def open_session(
    params: TestParams, model_path: Path | str, log: Path, sut: type[Session] = Session
) -> Session:
    """A session with the job's parked engine if it was loaded by the same command, in the job's
    prepared worker, or in a new one; see ``Session``."""
    parked, worker = claim() or (None, None)
    if parked is not None and worker is not None:
        if worker.alive and parked.start in (None, Start.of(params, model_path, log)):
            if parked.engine is not None:
                print("The engine: loaded before, used again")
                return sut(params, model_path, log, worker, parked.engine)
        else:
            end(parked, worker)  # two engines at once would measure each other
            worker = None
    loads = params.engine_traits.started_here
    with progress.ticking("Loading the engine" if loads else "Connecting"):
        return sut(params, model_path, log, worker)


def park(session: Session) -> None:
    """Leave the engine to the job's next notebook; without a job, end it."""
    if session.alive:
        with suppress(EOFError, OSError), _job() as job:
            job.send(ParkedEngine(session.pid, session.start, session.engine))
            send_handle(job, session.worker.pipe.fileno(), None)
            if job.recv():
                session.release()
                return
    session.close()


def claim() -> tuple[ParkedEngine, EngineProcess] | None:
    """The parked worker, which is the caller's now; None if there is none."""
    with suppress(EOFError, OSError), _job() as job:
        job.send("claim")
        parked: ParkedEngine | None = job.recv()
        if parked is not None:
            return parked, parked.receive(job)
    return None


def wait_until_idle() -> None:
    """Wait until nothing of the job computes but the notebook that calls."""
    with suppress(EOFError, OSError), _job() as job:
        job.send("wait")
        job.recv()


def drop() -> None:
    """End the parked engine, if any: its device is wanted."""
    if (found := claim()) is not None:
        end(*found)


def end(parked: ParkedEngine, process: EngineProcess) -> None:
    """End a parked worker."""
    if parked.engine is None:  # it may be importing still, and read no command
        process.kill()
    else:
        process.end(STOP_S)


def _job() -> Connection:
    """A connection to the process that executes the notebooks.

    Raises:
        OSError: if there is none.
    """
    if not (address := os.environ.get(ADDRESS)):
        raise FileNotFoundError("no notebook of a job")
    return Client(address, "AF_UNIX")
