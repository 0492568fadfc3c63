"""Ray's workers, on this machine's GPUs or a cluster's. Ray is optional."""

import importlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import util
from types import ModuleType
from typing import NoReturn

from loadgen_study.params import RunParams
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.gpus import gpu_count
from vllm_loadgen.redact import environment_without_secrets
from vllm_loadgen.sockets import short_folder

# Ray started here reports no usage and listens on the loopback interface alone (as it does where it
# believes that there is no cluster). An actor without a GPU request sees all of them.
OWN_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Results are some MiB each.
STORE_BYTES = 200 * 2**20
# What Ray adds to a socket's path (60), and the name of its folder here.
RAY_NAME_BYTES = 67


def devices(params: RunParams) -> int:
    """GPUs of one engine of a run; 0 if it needs none."""
    return params.devices if params.engine_traits.runs_model else 0


def check(params: RunParams) -> None:
    """Refuse ``workers`` that the machine or cluster cannot provide.

    Raises:
        ParameterError: naming ``workers``.
    """
    if not params.side_by_side:
        return
    if util.find_spec("ray") is None:
        _refuse(params, "needs Ray, which is not installed", "install it: make ray")
    if _is_cluster(params):
        with connected(params):
            return
    at_once(params, [gpu_count()], None)


@contextmanager
def connected(params: RunParams) -> Iterator[int]:
    """Ray, started here or found at the address of ``workers``; ends what it started.

    Yields:
        how many workers there are (see ``at_once``).

    Raises:
        ParameterError: if no cluster answers, or its GPUs do not suffice.
        BenchmarkError: if Ray does not start here.
    """
    if not _is_cluster(params):
        os.environ.update(OWN_RAY)  # some of it is read at the import
    ray = importlib.import_module("ray")
    with ExitStack() as stack:
        if not ray.is_initialized():  # else the caller's own, which stays
            start = _join if _is_cluster(params) else _start
            start(ray, params, stack)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = [int(node.get("GPU", 0)) for node in nodes]
        cpus = int(sum(node.get("CPU", 0) for node in nodes))
        yield at_once(params, gpus, cpus)


def _join(ray: ModuleType, params: RunParams, stack: ExitStack) -> None:
    stack.callback(ray.shutdown)
    try:
        ray.init(params.workers, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of many types
        problem = f"no Ray cluster of this version answers there ({_first_line(error)})"
        _refuse(params, problem, "give the address of one that runs")


def _start(ray: ModuleType, params: RunParams, stack: ExitStack) -> None:
    """Ray on this machine; the stack ends it, then deletes its logs and its workers' files."""
    place = short_folder(RAY_NAME_BYTES)
    folder = tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True)
    scratch = stack.enter_context(folder)
    stack.callback(ray.shutdown)
    try:
        with _environment({"TMPDIR": scratch}):
            ray.init(
                address="local",
                num_cpus=_wanted(params) or gpu_count(),
                num_gpus=gpu_count(),
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
                _temp_dir=scratch,
                _node_ip_address="127.0.0.1",
            )
    except Exception as error:
        raise BenchmarkError(f"Ray did not start: {_first_line(error)}") from None


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Give Ray's processes this process's environment without its secrets."""
    before = dict(os.environ)
    try:
        plain = environment_without_secrets()
        os.environ.clear()
        os.environ.update(plain | more)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def at_once(params: RunParams, gpus: Sequence[int], cpus: int | None) -> int:
    """How many workers fit.

    Args:
        gpus: of each machine. cpus: of a cluster, where known.

    Raises:
        ParameterError: if fewer than ``workers`` fit.
    """
    plain, wanted = params.changed(tune={}), _wanted(params)
    tuned = [plain.changed(**changes) for changes in params.tune_settings]
    most = max(devices(one) for one in [plain, *tuned])
    if most == 0:
        if wanted is None and not _is_cluster(params):
            _refuse(params, "has no GPUs to go by with the echo engine", "give a number")
        return wanted or cpus or 1
    if not any(gpus):
        problem = "engines that share a CPU would measure each other"
        _refuse(params, problem, "leave it out; it takes GPUs, or the echo engine")
    if max(gpus) < most:
        problem = f"an engine takes {most} GPUs, and a machine has {max(gpus)}"
        _refuse(params, problem, "lower tensor_parallel_size or its like")
    room = sum(each // devices(params) for each in gpus)
    if wanted is not None and wanted > room:
        problem = f"there is room for {room} on {sum(gpus)} GPUs, {devices(params)} each"
        _refuse(params, problem, f"give up to {room}, or auto")
    return wanted or room


def _wanted(params: RunParams) -> int | None:
    return params.workers if isinstance(params.workers, int) else None


def _is_cluster(params: RunParams) -> bool:
    return isinstance(params.workers, str) and params.workers != "auto"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _refuse(params: RunParams, problem: str, cure: str) -> NoReturn:
    raise ParameterError("workers", params.workers, problem, cure)
