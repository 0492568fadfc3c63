"""The SUT against vLLM itself; each part is a process of its own (``python engine.py PART JSON``).

PART: "generate" is vLLM's own ``LLM.generate`` over all prompts; "offline" the same prompts through
LoadGen, "unloaded" without the libraries that vLLM's processes preload, "untold" without what vLLM
tells of each step; "server" alternates LoadGen's Server test with an open-loop client on the same
engine and the same arrivals; "serial" one query in flight, as the reference SUT has it, against all
at once.
Each is warm before anything of it is measured (see ``Rig``). The last line printed is JSON.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rig import Rig, means, open_loop, warmed
from workload import workload

from loadgen_study.params import RunParams
from vllm_loadgen.engines.vllm import VllmEngine, engine_args, set_environment
from vllm_loadgen.engines.vllm_steps import detailed
from vllm_loadgen.harness import loadgen
from vllm_loadgen.harness.warmup import Round

# One in flight takes the prompts in turn: a thousand of Llama-3.1-8B would last a quarter hour.
SERIAL_MOST = 128


def generate(params: RunParams, model: str, prompts: list[list[int]], runs: int) -> dict[str, Any]:
    """tokens/s of ``LLM.generate`` with the same options, run by run, and whether it was warm."""
    set_environment(params)
    from vllm import LLM, SamplingParams

    options = engine_args(params, model)
    for ours in ("stream_interval", "disable_log_stats"):
        options.pop(ours)
    llm = LLM(**options)
    sampling = SamplingParams(
        temperature=0.0, max_tokens=params.max_new_tokens, min_tokens=params.min_new_tokens,
        detokenize=False,
    )  # fmt: skip
    inputs = [{"prompt_token_ids": prompt} for prompt in prompts]

    def ask(queries: int) -> Round:
        begin = time.perf_counter()
        outputs = llm.generate(inputs[:queries], sampling, use_tqdm=False)
        took_s = time.perf_counter() - begin
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        return Round(queries, tokens, took_s, math.nan, math.nan)

    warm = warmed(ask, len(inputs))
    return {"tokens_per_s": [ask(len(inputs)).tokens_per_s for _ in range(runs)], "warm": warm}


def offline(params: RunParams, model: str, prompts: list[list[int]], runs: int) -> dict[str, Any]:
    """tokens/s of LoadGen's Offline test through the SUT, as issued and with long prompts first."""
    params = all_at_once(params, len(prompts))
    found: dict[str, Any] = {"tokens_per_s": [], "longest_first_tokens_per_s": [],
                             "samples_per_s": []}  # fmt: skip
    engine = VllmEngine(params, model)
    with Rig(engine, prompts, warm=True) as rig, tempfile.TemporaryDirectory() as folder:
        found |= {"warm": rig.warm, "preloads": bool(engine._preloaded)}
        found["tells_steps"] = bool(detailed())
        for run in range(runs):
            plain = means(rig.loadgen(params, Path(folder) / f"{run}"), "Offline")
            ordered = rig.loadgen(params, Path(folder) / f"{run}-ordered", longest_first=True)
            found["tokens_per_s"].append(plain["tokens_per_s"])
            found["samples_per_s"].append(plain["samples_per_s"])
            found["longest_first_tokens_per_s"].append(means(ordered, "Offline")["tokens_per_s"])
    return found


def unloaded(params: RunParams, model: str, prompts: list[list[int]], runs: int) -> dict[str, Any]:
    """``offline`` without the preload."""
    with patch("vllm_loadgen.engines.vllm.preload", lambda: ()):
        return offline(params, model, prompts, runs)


def untold(params: RunParams, model: str, prompts: list[list[int]], runs: int) -> dict[str, Any]:
    """``offline`` without the tokens and the duration of each step."""
    with patch("vllm_loadgen.engines.vllm.detailed", dict):
        return offline(params, model, prompts, runs)


def server(params: RunParams, model: str, prompts: list[list[int]], runs: int) -> dict[str, Any]:
    """Mean TTFT and TPOT at one rate, by LoadGen and by an open-loop client, in turn."""
    count = -(-params.min_query_count // len(prompts)) * len(prompts)
    due_s = loadgen.server_schedule_ns(
        loadgen.official_settings(params).schedule_rng_seed, params.target_qps, count
    ) / 1e9  # fmt: skip
    engine = VllmEngine(params, model)
    found: dict[str, list[dict[str, float]]] = {"loadgen": [], "open_loop": []}
    with Rig(engine, prompts, warm=True) as rig, tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            records = rig.loadgen(params, Path(folder) / f"{run}")
            found["loadgen"].append(means(records, "Server"))
            order = records["sample_index"].tolist()
            found["open_loop"].append(
                rig.wait(open_loop(_generate(engine, f"{run}"), prompts, order, due_s))
            )
    return found


def _generate(engine: VllmEngine, run: str) -> Any:
    """vLLM's own generate with the SUT's sampling; ids must not repeat in an engine's life."""

    def generate_one(prompt: Sequence[int], name: str) -> Any:
        inputs = {"type": "token", "prompt_token_ids": list(prompt)}
        return engine._llm.generate(inputs, engine._sampling, f"{run}-{name}")

    return generate_one


def serial(params: RunParams, model: str, prompts: list[list[int]], runs: int) -> dict[str, Any]:
    """Capacity with one query in flight and with all; TTFT of both at 1.5 times the former.

    A list over ``runs``, which alternate; the rate is of the first.
    """
    few = prompts[: min(max(8, len(prompts) // 4), SERIAL_MOST)]
    engine = VllmEngine(params, model)
    with Rig(engine, few, warm=True) as rig, tempfile.TemporaryDirectory() as folder:
        together = all_at_once(params, len(few))
        found: dict[str, list[float]] = {}

        def test(key: str, params: RunParams, concurrency: int | None = None) -> float:
            values = found.setdefault(f"serial_{key}" if concurrency else key, [])
            place = Path(folder) / f"{key}-{concurrency}-{len(values)}"
            records = rig.loadgen(params, place, concurrency=concurrency)
            values.append(means(records, params.scenario)[key])
            return values[-1]

        rate = 0.0
        for _ in range(runs):
            capacity = test("samples_per_s", together, 1)
            rate = rate or 1.5 * capacity
            test("samples_per_s", together)
            arriving = params.changed(
                scenario="Server", target_qps=rate, min_query_count=2 * len(few), min_duration_ms=1
            )
            test("ttft_ms", arriving, 1)
            test("ttft_ms", arriving)
    return {"rate": rate, **found}


def all_at_once(params: RunParams, count: int) -> RunParams:
    """Offline over the prompts once."""
    return params.changed(
        scenario="Offline", target_qps=1.0, min_query_count=count, min_duration_ms=1
    )


if __name__ == "__main__":
    part, task = sys.argv[1], json.loads(sys.argv[2])
    params = RunParams.from_dict(task["params"])
    model, prompts = workload(params, task["prompts"])
    found = globals()[part](params, model, prompts, task["runs"])
    print(json.dumps(found, default=np.generic.item))
