"""Whether a machine has the devices and the memory that an engine asks for, before it is loaded."""

from importlib import util
from typing import NoReturn

from loadgen_study.facts.inputs import Environment
from loadgen_study.params import RunParams
from vllm_loadgen.errors import ParameterError


def check_devices(params: RunParams, here: Environment) -> None:
    """Refuse an engine that has no room on this machine.

    Over several machines (``executor: ray``) Ray alone knows what there is.

    Raises:
        ParameterError: naming the parameter that asks for too much.
    """
    if params.engine != "vllm":
        return
    if params.executor == "ray":
        _check_ray(params, here)
    elif here.gpus:
        if params.devices > (there := len(here.gpus)):
            gpus = "1 GPU" if there == 1 else f"{there} GPUs"
            _too_many(params, f"and {gpus} can be used here", "CUDA_VISIBLE_DEVICES")
    else:
        _check_cpu(params, here)


def _check_ray(params: RunParams, here: Environment) -> None:
    if not here.gpus:
        problem = "is vLLM's way to the GPUs of several machines, and there is no GPU here"
        _refuse(params, "executor", problem, "leave it out")
    if util.find_spec("ray") is None:
        _refuse(params, "executor", "needs Ray, which is not installed", "install it: make ray")


def _check_cpu(params: RunParams, here: Environment) -> None:
    """Each engine's part has cores of its own, and a KV cache of its own.

    Where memory is overcommitted a cache that no machine holds would load, and the machine would
    fail as it fills.
    """
    cores, memory_gib = here.cpu.cores, here.cpu.memory_gib
    if params.devices > cores:
        _too_many(params, f"and this machine has {cores} cores and no GPU", "nvidia-smi")
    if params.pipeline_parallel_size > 1 and params.enforce_eager:
        problem = "on a CPU vLLM runs a pipeline only compiled"
        _refuse(params, "enforce_eager", problem, "give False, or pipeline_parallel_size 1")
    if params.cpu_kv_cache_gib * params.devices > memory_gib:
        times = f" {params.devices} times" if params.devices > 1 else ""
        problem = f"this machine has {memory_gib:.0f} GiB of memory, which do not hold it{times}"
        _refuse(params, "cpu_kv_cache_gib", problem, "lower it")


def _too_many(params: RunParams, there: str, look_at: str) -> NoReturn:
    """More devices than there are: the largest of the sizes is named."""
    name = max(params.names("devices"), key=lambda size: int(getattr(params, size)))
    asked = f"the engine asks for {params.devices} devices (tensor x pipeline x data parallel)"
    _refuse(params, name, f"{asked}, {there}", f"lower it, or look at {look_at}")


def _refuse(params: RunParams, name: str, problem: str, cure: str) -> NoReturn:
    raise ParameterError(name, getattr(params, name), problem, cure)
