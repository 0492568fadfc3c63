"""vLLM in process: AsyncLLM with continuous batching."""

import asyncio
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from vllm_loadgen.checkpoint import check_engine
from vllm_loadgen.engines.base import Engine, Sink
from vllm_loadgen.engines.cpu import cores_of_parts, preload
from vllm_loadgen.engines.vllm_steps import StepLog, detailed
from vllm_loadgen.errors import EngineError, ParameterError
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts, TokenScores
from vllm_loadgen.sockets import short_folder

# With DELTA outputs: the first token alone, then everything else in one piece.
WHOLE_REST = 10**6
# Where the parameters leave it open, on a CPU (measured: tests/benchmarks/README.md): compiling
# gains a tenth and takes minutes.
ON_CPU = {"enforce_eager": True}
# vLLM leaves a core to its scheduler, which of two cores is half the machine.
FEW_CORES = 4
SOCKET_NAME_BYTES = 36  # vLLM names each by a UUID
# Options that vLLM's configuration keeps under another name.
RENAMED = {"kv_cache_dtype": "cache_dtype"}
# Options that only this harness needs: a server for users streams each token, and logs.
HARNESS = ("model", "stream_interval", "disable_log_stats", "skip_tokenizer_init",
           "enable_logging_iteration_details")  # fmt: skip
# Switches that are off, and that the command line can only turn on.
ONLY_ON = ("disable_log_stats", "aggregate_engine_logging")


def engine_args(params: TestParams, model_path: str) -> dict[str, JsonValue]:
    """The keyword arguments of vLLM's AsyncEngineArgs for these parameters.

    Raises:
        ParameterError: if ``engine_options`` names an option that vLLM does not have, or the
            checkpoint needs code of its own that may not be run.
    """
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform

    if not params.trust_remote_code:
        check_engine(Path(model_path))
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name, value in params.engine_options.items():
        if name not in known:
            option, problem = f"engine_options.{name}", "vLLM has no such option"
            raise ParameterError(option, value, problem, "see EngineArgs")
    args: dict[str, JsonValue] = {
        "model": model_path,
        "stream_interval": WHOLE_REST,
        # Statistics carry when a query left the queue: it separates queueing from prefill.
        "disable_log_stats": False,
        # LoadGen wants token ids, the text is decoded after the test. A model of shape only
        # (load_format dummy) has no tokenizer at all.
        "skip_tokenizer_init": params.load_format == "dummy",
    }
    on_cpu = current_platform.is_cpu()
    # A pipeline's later parts get their first input as they compile: uncompiled they have none.
    if on_cpu and params.pipeline_parallel_size == 1:
        args |= ON_CPU
    # After part of a prompt vLLM 0.32 sets a query's seeded generator back, which dies on a CPU.
    if on_cpu and params.sampling.seed_of(0) is not None:
        args["enable_chunked_prefill"] = False
    return args | given_options(params)


def given_options(params: TestParams) -> dict[str, JsonValue]:
    """vLLM's options that the parameters give, by its own names; vLLM chooses all others."""
    args: dict[str, JsonValue] = {
        **{name: getattr(params, name) for name in params.names("vllm")},
        "distributed_executor_backend": params.executor,
        "data_parallel_backend": "ray" if params.executor == "ray" else None,
    }
    given = {name: value for name, value in args.items() if value is not None}
    return given | params.engine_options


def command_line(args: Mapping[str, object]) -> list[str]:
    """The words of vLLM's command line for keyword arguments of its AsyncEngineArgs."""
    words: list[str] = []
    for name, value in args.items():
        flag = name.replace("_", "-")
        if value is None or (name in ONLY_ON and not value):
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words


def effective_options(args: Iterable[str], config: Any) -> dict[str, JsonValue]:
    """The values of these options in vLLM's configuration.

    An option without a value there, with a structure, or with different values in several parts
    is left out.

    Args:
        config: a ``VllmConfig``; each of its parts is an object with fields.
    """
    parts = [part for name, part in vars(config).items() if name.endswith("_config")]
    found: dict[str, JsonValue] = {}
    for name in args:
        field = RENAMED.get(name, name)
        values = {_plain(getattr(part, field)) for part in parts if hasattr(part, field)}
        if len(values) == 1 and (value := values.pop()) is not None and name != "model":
            found[name] = value
    return found


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as JSON has it; None for a structure."""
    if str(value).startswith("torch."):
        return str(value).removeprefix("torch.")
    return value if isinstance(value, str | int | float | bool) else None


def _kv_cache_tokens(cache: Any) -> int | None:
    """Tokens that fit into the KV cache; older vLLMs report its blocks alone."""
    if tokens := getattr(cache, "kv_cache_size_tokens", None):
        return int(tokens)
    return cache.num_gpu_blocks * cache.block_size if cache.num_gpu_blocks else None


def cpu_variables(params: TestParams, cores: int) -> dict[str, str]:
    """What vLLM takes of a CPU from the environment: its KV cache, and the cores left free.

    Args:
        cores: that the process may use.
    """
    found = {"VLLM_CPU_KVCACHE_SPACE": str(params.cpu_kv_cache_gib)}
    reserved = params.cpu_reserved_cores
    if reserved is None and cores < FEW_CORES:
        reserved = 0
    return found if reserved is None else found | {"VLLM_CPU_NUM_OF_RESERVED_CPU": str(reserved)}


def set_environment(params: TestParams) -> tuple[str, ...]:
    """Set what vLLM reads from the environment alone; recorded parameters win over variables.

    Returns:
        the libraries that its processes load before all others.

    Raises:
        BenchmarkError: if its sockets can be made nowhere.
    """
    os.environ.update(cpu_variables(params, len(os.sched_getaffinity(0))))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if "VLLM_RPC_BASE_PATH" not in os.environ:
        os.environ["VLLM_RPC_BASE_PATH"] = short_folder(SOCKET_NAME_BYTES)
    if shares := cores_of_parts(params.devices):
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", shares)
    return preload()


class VllmEngine(Engine):
    """AsyncLLM; two outputs a query, no detokenization."""

    def __init__(self, params: TestParams, model_path: str, key: str = "") -> None:
        self._params = params
        self._model_path = model_path
        self._tasks: set[asyncio.Task[None]] = set()
        self._steps = StepLog()
        self._llm: Any = None
        self._scored = 0

    async def start(self) -> EngineFacts:
        self._preloaded = set_environment(self._params)
        import vllm
        from vllm import AsyncEngineArgs, SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        args = engine_args(self._params, self._model_path)
        args |= detailed() | self._params.engine_options
        # By its use vLLM chooses the batch limits that are left open: large for throughput, smaller
        # for serving. Unasked, AsyncLLM takes those of neither (128 queries on any GPU).
        offline = self._params.scenario_traits.at_once
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**args),
            usage_context=UsageContext.LLM_CLASS if offline else UsageContext.OPENAI_API_SERVER,
            stat_loggers=[lambda *_: self._steps],
        )
        sampling = self._params.sampling
        self._sampling_params = partial(
            SamplingParams,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=self._params.max_new_tokens,
            min_tokens=self._params.min_new_tokens,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        self._usual = self._sampling_params()
        return self._facts(vllm.__version__, args)

    def _facts(self, version: str, args: dict[str, JsonValue]) -> EngineFacts:
        """What vLLM made of the options that it may choose itself."""
        config = self._llm.vllm_config
        self._steps.overlaps = bool(
            config.scheduler_config.async_scheduling
            or config.parallel_config.pipeline_parallel_size > 1
        )
        return EngineFacts(
            engine="vllm",
            version=version,
            options={name: value for name, value in args.items() if name != "model"},
            max_num_seqs=config.scheduler_config.max_num_seqs,
            max_num_batched_tokens=config.scheduler_config.max_num_batched_tokens,
            chunked_prefill=config.scheduler_config.enable_chunked_prefill,
            prefix_caching=config.cache_config.enable_prefix_caching,
            max_model_len=config.model_config.max_model_len,
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            effective_options=effective_options(args, config),
            kv_cache_tokens=_kv_cache_tokens(config.cache_config),
            preloaded=self._preloaded,
        )

    def submit(
        self, row: int, prompt: Sequence[int], sink: Sink, most_tokens: int | None = None
    ) -> None:
        own: dict[str, int] = {}
        if most_tokens is not None and most_tokens < self._params.max_new_tokens:
            own["max_tokens"] = most_tokens
            own["min_tokens"] = min(self._params.min_new_tokens, most_tokens)
        if (seed := self._params.sampling.seed_of(row)) is not None:
            own["seed"] = seed
        sampling = self._sampling_params(**own) if own else self._usual
        task = asyncio.get_running_loop().create_task(self._serve(row, prompt, sink, sampling))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, row: int, prompt: Sequence[int], sink: Sink, sampling: Any) -> None:
        answer: list[int] = []
        try:
            inputs = {"type": "token", "prompt_token_ids": list(prompt)}
            async for output in self._llm.generate(inputs, sampling, str(row)):
                begun = bool(answer)
                answer.extend(output.outputs[0].token_ids)
                if answer and not begun:
                    sink.first(row, answer[0], _started_ns(output))
        except Exception as error:
            # vLLM refuses a query by whatever its checks raise; only a dead engine ends them all.
            if self._llm.errored:
                sink.failed(error)
            else:
                sink.refuse(row, error.__cause__ or error)
            return
        if answer:
            sink.done(row, answer[1:])
        else:
            sink.refuse(row, EngineError("the engine answered with no token at all"))

    async def score(self, prompt: Sequence[int], answer: Sequence[int]) -> TokenScores:
        from vllm import SamplingParams

        # Of a prompt vLLM gives each token's log-probability and the likeliest's.
        asked = SamplingParams(max_tokens=1, prompt_logprobs=1, detokenize=False)
        inputs = {"type": "token", "prompt_token_ids": [*prompt, *answer]}
        self._scored += 1
        known: Sequence[Any] = ()
        try:
            async for output in self._llm.generate(inputs, asked, f"score-{self._scored}"):
                known = output.prompt_logprobs or known
        except Exception as error:
            if self._llm.errored:
                raise
            raise ValueError(str(error.__cause__ or error)) from error
        if len(known) != len(prompt) + len(answer):
            raise ValueError("vLLM returned no log-probabilities of the prompt")
        rows = list(zip(answer, known[len(prompt) :], strict=True))
        logprobs = tuple(row[token].logprob for token, row in rows)
        best = (max(other.logprob for other in row.values()) for _, row in rows)
        chosen = tuple(own >= most for own, most in zip(logprobs, best, strict=True))
        return TokenScores(logprobs=logprobs, chosen=chosen)

    def steps(self) -> dict[str, Sequence[float]]:
        return self._steps.take()

    def progress(self) -> int:
        return self._steps.tokens

    async def stop(self) -> None:
        if self._llm is None:
            return  # it could not be loaded
        # Stopping the readers first keeps EngineDeadError traces out of the log.
        for task in tuple(self._tasks):
            task.cancel()
        if (handler := getattr(self._llm, "output_handler", None)) is not None:
            handler.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await handler
        self._llm.shutdown()


def _started_ns(output: Any) -> int | None:
    """When the scheduler first took the query (engine core's monotonic clock, ns)."""
    scheduled_s = getattr(output.metrics, "scheduled_ts", 0.0) if output.metrics else 0.0
    return int(scheduled_s * 1e9) if scheduled_s else None
