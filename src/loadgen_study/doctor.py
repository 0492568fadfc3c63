"""Whether this machine can run a parameters file, before anything is loaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

import psutil
import pynvml

from loadgen_study.analysis.roofline import kv_bytes
from loadgen_study.facts.inputs import Environment, Model
from loadgen_study.inputs import models
from loadgen_study.inputs.environment import computes_in, environment
from loadgen_study.params import RunParams
from loadgen_study.results.folders import find_file, outputs_folder
from loadgen_study.words import percent
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.gpus import gpu_handles
from vllm_loadgen.http.certificates import reason

Status = Literal["ok", "look", "no"]
GIB = 2**30
# What PyTorch, vLLM and the notebooks take in addition to weights and KV cache on a CPU.
OTHER_GIB = 3.0
# The least compute capability (CUDA C++ Programming Guide, "Compute Capabilities").
CAPABILITY = {"bfloat16": (8, 0), "fp8": (8, 9)}
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
LEAST_FREE_GIB = 2.0  # of a run's own files
HUB_TIMEOUT_S = 5.0
# A machine that others use cannot be measured.
BUSY_SHARE = 0.25


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        status: "ok", "look" (the job runs, and may be slow or wrong) or "no" (it cannot run).
        found: what is there. cure: what to do; empty if it is ok.
    """

    what: str
    status: Status
    found: str
    cure: str = ""

    def __str__(self) -> str:
        line = f"{self.status:<5}{self.what:<12}{self.found}"
        return f"{line}. {self.cure}." if self.cure else line


def examine(params: RunParams) -> list[Finding]:
    """All findings about a run on this machine; its engine is not loaded.

    Raises:
        ParameterError: if a parameter cannot be used.
    """
    here = environment(params.devices)
    model, described = _model(params)
    findings = [*_software(params, here), *described, *_devices(params, here, model)]
    if model is not None and params.engine_traits.started_here:  # a server's weights are not here
        findings += [_type(params, model, here), _memory(params, model, here)]
    return [*findings, _disk(params), *_quiet(here)]


def _software(params: RunParams, here: Environment) -> Iterator[Finding]:
    traits = params.engine_traits
    what, found = traits.title, [name for name in traits.packages if name in here.packages]
    named = "".join(f"{name} {here.packages[name]}" for name in found[:1])
    devices = [traits.packages[name] for name in found]
    if not traits.packages:
        return
    if not found:
        yield Finding(what, "no", "is not installed", "Run make setup")
    elif "cpu" in devices and here.gpus:
        cure = "Run make setup DEVICE=cuda"
        yield Finding(what, "look", f"{named} leaves the GPU alone", cure)
    elif "cuda" in devices and not here.gpus:
        cure = "Run make setup DEVICE=cpu, or look at the GPU's driver (nvidia-smi)"
        yield Finding(what, "no", f"{named} is for a GPU, and none answers", cure)
    else:
        yield Finding(what, "ok", f"{named}, LoadGen {metadata.version('mlcommons-loadgen')}")


def _model(params: RunParams) -> tuple[Model | None, list[Finding]]:
    """The model, if it is on this machine, and its findings."""
    name, revision = find_file(params.model), params.model_revision
    weights = params.engine_traits.started_here
    if name.count("/") == 1 and not Path(name).exists() and not _cached(name, revision):
        return None, [_on_hub(name, revision, weights)]
    path = models.resolve(name, revision, weights)
    dtype = models.resolve_dtype(params.dtype, path)
    model = models.describe(params.model, path, dtype, revision, params.trust_remote_code)
    found = f"{model.name}: {model.size_text}"
    found += f" in {dtype}" if weights else ""  # a server has a type of its own
    return model, [Finding("model", "ok", found)]


def _cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


def _on_hub(name: str, revision: str | None, weights: bool) -> Finding:
    """A model that is not here yet; without ``weights`` a server has them."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(
            name, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_S
        )
    except Exception as error:  # the client raises many types, and messages may repeat headers
        problem = f"{name} is not here, and the hub did not tell of it ({reason(error)})"
        cure = "Set HF_TOKEN if it is gated, or give the folder of a download as model"
        return Finding("model", "no", problem, cure)
    if not weights:
        return Finding("model", "ok", f"{name} is on the hub: its tokenizer is fetched")
    size = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith("tensors"))
    found = f"{name} is on the hub: {size / GIB:.1f} GiB are downloaded at the first run"
    return Finding("model", "look", found, "Run setup.ipynb first")


def _devices(params: RunParams, here: Environment, model: Model | None) -> Iterator[Finding]:
    if here.gpus:
        names = ", ".join(f"{gpu.name} ({gpu.memory_gib} GiB)" for gpu in here.gpus)
        yield Finding("device", "ok", f"{names}, driver {here.gpu_driver}")
    else:
        yield Finding("device", "ok", f"{here.cpu.model}, {here.cpu.cores} cores")
    for refusal in refusals(params, here, model):
        yield Finding("parameter", "no", str(refusal).rstrip("."))


def refusals(params: RunParams, here: Environment, model: Model | None) -> Iterator[ParameterError]:
    """Why a run is refused before its engine is loaded: nothing if it is not.

    Over several machines (``executor: ray``) Ray alone knows what there is.

    Args:
        model: None if it is not on this machine yet.
    """
    yield from _tuning_refusals(params)
    refusal = partial(_refusal, params)
    longest = model.max_position_embeddings if model else None
    if longest and params.max_model_len > longest:
        knows = f"the model knows {longest} positions"
        yield refusal("max_model_len", knows, f"give {longest} or less")
    if not (params.engine_traits.started_here and params.engine_traits.runs_model):
        return
    gpus, cores, memory_gib = len(here.gpus), here.cpu.cores, here.cpu.memory_gib
    largest = max(params.names("devices"), key=lambda size: int(getattr(params, size)))
    devices = f"the engine asks for {params.devices} devices (tensor x pipeline x data parallel)"
    if params.executor == "ray":
        if not gpus:
            problem = "is vLLM's way to the GPUs of several machines, and there is no GPU here"
            yield refusal("executor", problem, "leave it out")
        elif util.find_spec("ray") is None:
            yield refusal("executor", "needs Ray, which is not installed", "install it: make ray")
        return
    if gpus:
        if params.devices > gpus:
            there = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
            cure = "lower it, or look at CUDA_VISIBLE_DEVICES"
            yield refusal(largest, f"{devices}, and {there} can be used here", cure)
        return
    # On a CPU each engine's part has cores and a KV cache of its own. Where memory is overcommitted
    # a cache that no machine holds would load, and the machine would fail as it fills.
    if params.devices > cores:
        there = f"and this machine has {cores} cores and no GPU"
        yield refusal(largest, f"{devices}, {there}", "lower it, or look at nvidia-smi")
    if params.pipeline_parallel_size > 1 and params.enforce_eager:
        problem = "on a CPU vLLM runs a pipeline only compiled"
        yield refusal("enforce_eager", problem, "give False, or pipeline_parallel_size 1")
    if params.cpu_kv_cache_gib * params.devices > memory_gib:
        times = f" {params.devices} times" if params.devices > 1 else ""
        problem = f"this machine has {memory_gib:.0f} GiB of memory, which do not hold it{times}"
        yield refusal("cpu_kv_cache_gib", problem, "lower it")


def _refusal(params: RunParams, name: str, problem: str, cure: str) -> ParameterError:
    return ParameterError(name, getattr(params, name), problem, cure)


def _type(params: RunParams, model: Model, here: Environment) -> Finding:
    types = {model.multiplied_in or str(model.dtype)}
    if params.quantization and params.quantization.startswith("fp8"):
        types.add("fp8")
    with gpu_handles(1) as handles:
        if handles:
            able = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handles[0]))
            lacking = [each for each in types if able < CAPABILITY.get(each, (0, 0))]
            found = f"{', '.join(sorted(types))} at compute capability {able[0]}.{able[1]}"
        else:
            lacking = [each for each in types if not computes_in(each) or each == "fp8"]
            found = f"{', '.join(sorted(types))} on this CPU"
    if lacking:
        cure = "Give dtype auto, or a model in another type"
        return Finding("type", "look", f"{found}: it has no hardware for {lacking[0]}", cure)
    return Finding("type", "ok", found)


def _memory(params: RunParams, model: Model, here: Environment) -> Finding:
    """Weights and KV cache against what there is, in GiB of one device."""
    if model.not_known or model.weight_bytes is None:
        found = f"not known, as the model's {model.not_known}"
        return Finding("memory", "look", found, "Watch the first run")
    longest_gib = kv_bytes(model, params.max_model_len, params.kv_cache_dtype) / GIB
    if here.gpus:
        shared = params.tensor_parallel_size * params.pipeline_parallel_size
        weights_gib = model.weight_bytes / GIB / shared
        room_gib = here.gpus[0].memory_gib * params.gpu_memory_utilization - weights_gib
        each = _queries(room_gib, longest_gib / shared)
        fits = each * params.data_parallel_size
        cure = "Take a smaller type or model, more GPUs, or a higher gpu_memory_utilization"
    else:
        weights_gib = model.weight_bytes * params.data_parallel_size / GIB
        room_gib = float(params.cpu_kv_cache_gib * params.devices)
        free_gib = psutil.virtual_memory().available / GIB
        fits = _queries(room_gib, longest_gib)
        if weights_gib + room_gib + OTHER_GIB > free_gib:
            found = (
                f"{weights_gib:.1f} GiB of weights, {room_gib:g} of KV cache and about "
                f"{OTHER_GIB:g} for the rest, and {free_gib:.1f} GiB are free"
            )
            return Finding("memory", "no", found, "Lower cpu_kv_cache_gib, or end other programs")
        cure = "Raise cpu_kv_cache_gib, or lower max_model_len"
    found = f"{weights_gib:.1f} GiB of weights; the KV cache holds {fits} queries of full length"
    if fits < 1:
        return Finding("memory", "no", found, cure)
    wanted = params.concurrency or params.max_num_seqs
    if wanted and fits < wanted:
        return Finding("memory", "look", f"{found}, and {wanted} are requested at once", cure)
    return Finding("memory", "ok", found)


def _queries(room_gib: float, longest_gib: float) -> int:
    """Queries of full length that fit; one that keeps nothing always does."""
    return max(0, int(room_gib / max(longest_gib, 1e-9)))


def _disk(params: RunParams) -> Finding:
    folder = outputs_folder(params.outputs)
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / GIB
    found = f"{free_gib:.0f} GiB free for outputs"
    if not os.access(folder, os.W_OK):
        return Finding("disk", "no", "outputs cannot be written", "Give another outputs")
    if free_gib < LEAST_FREE_GIB:
        return Finding("disk", "look", found, "Make room, or give another outputs")
    return Finding("disk", "ok", found)


def _quiet(here: Environment) -> Iterator[Finding]:
    """What else uses the machine, and what holds it back."""
    busy = psutil.cpu_percent(0.5) / 100
    found = f"other programs use {percent(busy)} of the cores"
    if busy > BUSY_SHARE:
        yield Finding("quiet", "look", found, "End other programs: they would be measured too")
    else:
        yield Finding("quiet", "ok", found)
    governor = ""
    with suppress(OSError):
        governor = GOVERNOR.read_text(encoding="utf-8").strip()
    if governor not in ("", "performance"):
        cure = "Set it to performance (cpupower frequency-set -g performance)"
        yield Finding("clocks", "look", f"the CPU's governor is {governor}", cure)
    nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    if nodes > 1:
        cure = "Keep the run to one (numactl), or give engine_options numa_bind"
        yield Finding("NUMA", "look", f"{nodes} nodes", cure)
    with gpu_handles(len(here.gpus)) as handles:
        for number, handle in enumerate(handles):
            yield from _gpu(number, handle)


def _gpu(number: int, handle: Any) -> Iterator[Finding]:
    with suppress(pynvml.NVMLError):
        others = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        if others:
            held = sum(process.usedGpuMemory or 0 for process in others) / GIB
            found = f"{len(others)} other processes hold {held:.1f} GiB of GPU {number}"
            yield Finding("GPU", "look", found, "End them: vLLM wants its share of all memory")
    with suppress(pynvml.NVMLError):
        limit = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
        default = pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle)
        if limit < default:
            found = f"GPU {number} is held to {limit / 1e3:.0f} of {default / 1e3:.0f} W"
            yield Finding("GPU", "look", found, "Report the limit with the figures")


def _tuning_refusals(params: RunParams) -> Iterator[ParameterError]:
    """A tuning by an objective that lacks what the objective needs."""
    objective, scenario = params.tune_objective, params.scenario
    if not params.tune or objective == "tokens_per_s":
        return
    refusal = partial(_refusal, params, "tune_objective")
    if objective == "cost":
        if params.price_per_hour is None:
            yield refusal("has no price", "give price_per_hour")
    elif not params.scenario_traits.limited:
        problem = f"has no meaning in {scenario}: only Server has limits to keep"
        yield refusal(problem, "give scenario Server, or tune_objective cost or tokens_per_s")
    if objective == "valid_qps" and params.side_by_side:
        yield refusal("searches with one engine at a time", "leave workers out")
    if objective == "valid_qps" and "target_qps" in params.tune:
        yield refusal("searches the rate itself", "leave target_qps out of tune")
