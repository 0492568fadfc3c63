"""vLLM behind HTTP: a ``vllm serve`` of the run's own, on this machine's loopback."""

import asyncio
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp

from vllm_loadgen.engines.base import Sink
from vllm_loadgen.engines.vllm import command_line, engine_args, set_environment
from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.openai import OpenAIEngine
from vllm_loadgen.http.routes import ROUTES
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts

HOST = "127.0.0.1"
SERVER = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
LOOK_S = 0.2
STOP_S = 8.0  # the worker waits for 10 s


class ServedVllm(OpenAIEngine):
    """Starts the server with the run's own options, asks it as any other, and stops it.

    Args:
        command: what is started, before its options.
    """

    def __init__(
        self, params: TestParams, model_path: str, key: str = "", command: Sequence[str] = SERVER
    ) -> None:
        self._port = free_port()
        self._url = f"http://{HOST}:{self._port}"
        super().__init__(params, model_path, key, [self._url], ROUTES[:2])
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._sink: Sink | None = None
        self._tokens = 0

    async def start(self) -> EngineFacts:
        preloaded = set_environment(self._params)
        args = engine_args(self._params, self._model_path)
        own = {"host": HOST, "port": self._port, "enable_scale_out": True,
               "disable_uvicorn_access_log": True}  # fmt: skip
        # A child in the worker's session: it ends with it, and prints to the same log.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, *command_line(args | own)
        )
        self._watch = asyncio.get_running_loop().create_task(self._until_its_end(self._process))
        while not await self._listens():
            if (status := self._process.returncode) is not None:
                raise EngineError(f"vllm serve ended with status {status} while it loaded")
            await asyncio.sleep(LOOK_S)
        facts = await super().start()
        del args["model"]
        known = {"engine": "vllm", "options": args, "preloaded": preloaded, "served_model": None}
        return facts.model_copy(update=known)

    async def _listens(self) -> bool:
        """Whether it is healthy: vLLM opens its port once the model is loaded."""
        limit = aiohttp.ClientTimeout(STOP_S)
        with suppress(aiohttp.ClientError, OSError):  # TimeoutError, too
            async with aiohttp.request("GET", f"{self._url}/health", timeout=limit) as response:
                return response.status == 200
        return False

    async def _until_its_end(self, process: asyncio.subprocess.Process) -> None:
        """Report the server's end: nobody starts this one again."""
        status = await process.wait()
        if self._sink is not None:
            self._sink.failed(EngineError(f"vllm serve ended with status {status}"))

    async def observe(self) -> Mapping[str, float]:
        seen = await super().observe()
        self._tokens = int(sum(seen.get(f"{kind}_tokens", 0) for kind in ("prompt", "output")))
        return seen

    def progress(self) -> int:
        """With the server's counters: a stream brings only the first token, then all the rest."""
        return super().progress() + self._tokens

    def submit(
        self, row: int, prompt: Sequence[int], sink: Sink, most_tokens: int | None = None
    ) -> None:
        self._sink = sink
        if self._process is not None and (status := self._process.returncode) is not None:
            sink.failed(EngineError(f"vllm serve ended with status {status}"))
        else:
            super().submit(row, prompt, sink, most_tokens)

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await super().stop()
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        port: int = held.getsockname()[1]
        return port
