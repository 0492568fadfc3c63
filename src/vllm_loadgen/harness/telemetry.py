"""What machine and engine did while a test ran: samples of the machine, steps of the engine."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pynvml

from vllm_loadgen.gpus import gpu_handles
from vllm_loadgen.http.local_servers import listeners, on_this_machine

INTERVAL_S = 1.0
POWERCAP = Path("/sys/class/powercap")
# The names of vLLM's processes that compute; its server is VLLM::APIServer.
ENGINES = ("VLLM::EngineCore", "VLLM::Worker")
# Reasons for a GPU's clocks below the requested ones, where that slows a run (nvml.h, "clocks event
# reasons"); idle and application settings do not count as throttling.
THROTTLING = (
    pynvml.nvmlClocksThrottleReasonSwPowerCap
    | pynvml.nvmlClocksThrottleReasonHwSlowdown
    | pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
)


class Telemetry:
    """Samples the machine once a second in a thread of its own; use it as a context manager.

    Args:
        devices: GPUs that the model is spread over.
        servers: URLs of the server under test, if it is not started here.
        look: further columns, as of ``http.metrics.ServerWatch``.
        power: the same, as of ``redfish.Redfish``.
    """

    def __init__(
        self,
        devices: int = 1,
        servers: Sequence[str] = (),
        look: Callable[[], Mapping[str, float]] = dict,
        power: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._devices = devices
        self._servers = servers
        self._look = look
        self._power = power
        self._rows: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="telemetry", daemon=True)

    def __enter__(self) -> "Telemetry":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        servers = on_this_machine(self._servers)
        own, rapl, before = _Processes(servers), Rapl(), psutil.cpu_times()
        with gpu_handles(self._devices) as gpus:
            while not self._stop.wait(INTERVAL_S):
                now = psutil.cpu_times()
                row = {"monotonic_ns": time.monotonic_ns(), **_cpu_shares(before, now)}
                row |= own.read(_total_s(now) - _total_s(before))
                row |= rapl.read()
                row |= gpu_sample(gpus)
                row |= {**self._look(), **self._power()}
                self._rows.append(row)
                before = now

    def table(self, start_ns: int) -> pa.Table:
        """The samples, one row each.

        Args:
            start_ns: the run's start by ``time.monotonic_ns``.

        Returns:
            time_s since the start; cpu_share (of all cores, busy), own_cpu_share (of all cores,
            by engine and harness), steal_share (taken by the hypervisor), 0 to 1; front_cpu_cores
            (cores busy with harness, started server and vLLM's front end); own_memory_gib
            (resident); with a server that ran already on this machine server_cpu_share, which
            own_cpu_share contains, as own_memory_gib its memory: NaN if its process is not found;
            where it can be read cpu_energy_j (of the CPU packages, since the first look); with GPUs
            gpu_share (busy, 0 to 1), gpu_memory_gib, gpu_power_w, gpu_energy_j (since the driver
            was loaded), gpu_temperature_c and gpu_throttled (0 or 1), each the most or the sum of
            all GPUs, as far as they report them; with a management controller machine_power_w (of
            the whole machine that it names); server_NAME of a server's metrics
            (``http.metrics``): gauges, and counters since the test's start. Null where a sample
            lacks it.
        """
        rows = list(self._rows)  # a copy: the thread appends
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name, math.nan) for row in rows] for name in names}
        return steps_table(columns, start_ns)


def steps_table(columns: Mapping[str, Sequence[float]], start_ns: int) -> pa.Table:
    """Columns (of an engine's: see ``Engine.steps``) as a table.

    In place of monotonic_ns it has time_s since the run's start, and for NaN null.
    """
    arrays = {name: np.array(column) for name, column in columns.items()}
    if "monotonic_ns" in arrays:
        arrays = {"time_s": (arrays.pop("monotonic_ns") - start_ns) / 1e9, **arrays}
    return pa.table({name: pa.array(array, from_pandas=True) for name, array in arrays.items()})


class _Processes:
    """CPU time and memory of this process, of all that it started, and of servers.

    Args:
        servers: their URLs on this machine.
    """

    def __init__(self, servers: Sequence[str]) -> None:
        self._asks_servers = bool(servers)
        self._servers = listeners(servers) if servers else []
        self._before, self._read_at = self._spent(), time.monotonic()

    def _spent(self) -> dict[str, float]:
        """CPU seconds of all, of those other than the engine, and of servers; bytes of all."""
        spent = dict.fromkeys(("own", "front", "server", "memory"), 0.0)
        own = set(_tree(psutil.Process()))
        servers = {each for server in self._servers or () for each in _tree(server)}
        for member in own | servers:
            with suppress(psutil.Error):
                times, held = member.cpu_times(), member.memory_info().rss
                spent["own"] += times.user + times.system
                spent["memory"] += held
                if member not in own:
                    spent["server"] += times.user + times.system
                elif not _is_engine(member):
                    spent["front"] += times.user + times.system
        if self._servers is None or not all(server.is_running() for server in self._servers):
            spent |= dict.fromkeys(("own", "server", "memory"), math.nan)
        return spent

    def read(self, all_cores_s: float) -> dict[str, float]:
        spent, now = self._spent(), time.monotonic()
        used_s = {name: spent[name] - self._before[name] for name in ("own", "front", "server")}
        passed_s = now - self._read_at
        self._before, self._read_at = spent, now
        cores_s = all_cores_s or math.inf
        row = {
            "own_cpu_share": used_s["own"] / cores_s,
            "front_cpu_cores": used_s["front"] / passed_s,
            "own_memory_gib": spent["memory"] / 2**30,
        }
        if self._asks_servers:
            row["server_cpu_share"] = used_s["server"] / cores_s
        return row


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _is_engine(process: psutil.Process) -> bool:
    return any(part.startswith(ENGINES) for part in process.cmdline()[:1])


class Rapl:
    """The energy counters of the CPU packages (Linux's powercap), which wrap around.

    Without those of memory and of the whole platform. Most systems let only root read them.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._spent_uj = 0
        self._last: dict[Path, int] = {}
        for zone in sorted(root.glob("intel-rapl:*")):  # AMD's are called so, too
            with suppress(OSError, ValueError):
                if (zone / "name").read_text(encoding="utf-8").startswith("package"):
                    self._last[zone] = _number(zone / "energy_uj")

    def read(self) -> dict[str, float]:
        """cpu_energy_j since the first look; empty if there is no counter."""
        try:
            for zone, before in self._last.items():
                now = _number(zone / "energy_uj")
                wrapped = _number(zone / "max_energy_range_uj") if now < before else 0
                self._spent_uj += now - before + wrapped
                self._last[zone] = now
        except (OSError, ValueError):
            self._last = {}  # it is not the whole any more
        return {"cpu_energy_j": self._spent_uj / 1e6} if self._last else {}


def _number(file: Path) -> int:
    return int(file.read_text(encoding="utf-8"))


def _total_s(times: Any) -> float:
    return float(sum(times) - times.guest - times.guest_nice)  # which user time and nice contain


def _cpu_shares(before: Any, now: Any) -> dict[str, float]:
    total = max(_total_s(now) - _total_s(before), 1e-9)
    idle = now.idle - before.idle + now.iowait - before.iowait
    steal = now.steal - before.steal
    return {"cpu_share": 1 - (idle + steal) / total, "steal_share": steal / total}


def gpu_sample(handles: Sequence[Any]) -> dict[str, float]:
    """Busiest, hottest and throttled of the GPUs; memory and power of all together.

    Readings that a GPU does not support are left out.
    """
    ask = pynvml
    readings: dict[str, Callable[[], float]] = {
        "gpu_share": lambda: max(ask.nvmlDeviceGetUtilizationRates(h).gpu for h in handles) / 100,
        "gpu_memory_gib": lambda: sum(ask.nvmlDeviceGetMemoryInfo(h).used for h in handles) / 2**30,
        "gpu_power_w": lambda: sum(ask.nvmlDeviceGetPowerUsage(h) for h in handles) / 1e3,
        "gpu_energy_j": lambda: (
            sum(ask.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles) / 1e3
        ),
        "gpu_temperature_c": lambda: max(ask.nvmlDeviceGetTemperature(h, 0) for h in handles),
        "gpu_throttled": lambda: float(
            any(ask.nvmlDeviceGetCurrentClocksThrottleReasons(h) & THROTTLING for h in handles)
        ),
    }
    sample: dict[str, float] = {}
    for name, read in readings.items() if handles else ():
        with suppress(pynvml.NVMLError):
            sample[name] = read()
    return sample
