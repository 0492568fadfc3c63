"""Who runs experiments side by side: workers on this machine's GPUs, or on a Ray cluster's.

Ray is an optional package, and nothing else imports it.
"""

import importlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from types import ModuleType
from typing import NoReturn

from loadgen_study.params import RunParams
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.gpus import gpu_count
from vllm_loadgen.redact import environment_without_secrets
from vllm_loadgen.sockets import short_folder

# How Ray is started here: it reports to nobody, and listens on the loopback alone (it does so where
# it takes the machine for one that is in no cluster). Who asks for no GPU sees all of them, as
# without Ray.
OWN_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Results are some MiB each.
STORE_BYTES = 200 * 2**20
# Of a socket's path: what Ray adds (60), and the name of its own folder here.
RAY_NAME_BYTES = 67


@dataclass(frozen=True)
class Workers:
    """Workers that can be started.

    Attributes:
        ray: the module, connected.
        at_once: how many of them have room.
    """

    ray: ModuleType
    at_once: int


def devices(params: RunParams) -> int:
    """GPUs of one engine of a run; 0 of one that needs none."""
    return params.devices if params.engine_traits.runs_model else 0


def check(params: RunParams) -> None:
    """Refuse workers that cannot be had, before anything is made.

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
def connected(params: RunParams) -> Iterator[Workers]:
    """Ray, started here or found at the address of ``workers``; what was started ends afterwards.

    Raises:
        ParameterError: if no cluster answers, or it has not the GPUs.
        BenchmarkError: if Ray does not start here.
    """
    if not _is_cluster(params):
        os.environ.update(OWN_RAY)  # some of it is read at the import
    ray = importlib.import_module("ray")
    if ray.is_initialized():  # the caller's own, which stays
        yield _workers(ray, params)
        return
    with _join(ray, params) if _is_cluster(params) else _start(ray, params):
        yield _workers(ray, params)


@contextmanager
def _join(ray: ModuleType, params: RunParams) -> Iterator[None]:
    try:
        ray.init(params.workers, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of many types
        problem = f"no Ray cluster of this version answers there ({_first_line(error)})"
        _refuse(params, problem, "give the address of one that runs")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _start(ray: ModuleType, params: RunParams) -> Iterator[None]:
    """Ray on this machine; its logs and its workers' files go with it."""
    place = short_folder(RAY_NAME_BYTES)
    folder = tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True)
    with folder as scratch:
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
            ray.shutdown()
            raise BenchmarkError(f"Ray did not start: {_first_line(error)}") from None
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """This process's environment, as Ray's processes get it: with no secret in it."""
    before = dict(os.environ)
    try:
        plain = environment_without_secrets()
        os.environ.clear()
        os.environ.update(plain | more)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _workers(ray: ModuleType, params: RunParams) -> Workers:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cpus = int(sum(node.get("CPU", 0) for node in nodes))
    return Workers(ray, at_once(params, gpus, cpus))


def at_once(params: RunParams, gpus: Sequence[int], cpus: int | None) -> int:
    """How many workers there are.

    Args:
        gpus: of each machine. cpus: of a cluster, where known.

    Raises:
        ParameterError: if they have no room.
    """
    wanted, most = _wanted(params), max(devices(one) for one in _variants(params))
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


def _variants(params: RunParams) -> Iterator[RunParams]:
    """The run's own parameters, and with each value that is to be tried."""
    plain = params.changed(tune={})
    yield plain
    for name, values in params.tune.items():
        for value in values:
            yield plain.changed(**{name: value})


def _wanted(params: RunParams) -> int | None:
    return params.workers if isinstance(params.workers, int) else None


def _is_cluster(params: RunParams) -> bool:
    return isinstance(params.workers, str) and params.workers != "auto"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _refuse(params: RunParams, problem: str, cure: str) -> NoReturn:
    raise ParameterError("workers", params.workers, problem, cure)
