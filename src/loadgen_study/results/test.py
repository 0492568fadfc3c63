"""One LoadGen test, read: its facts, its tables, and each figure of it computed once."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from loadgen_study.analysis import early_stopping, interference, intervals, replicas
from loadgen_study.analysis.anatomy import NoAnatomy, Placed, placed
from loadgen_study.analysis.cost import (
    MACHINE,
    SOURCES,
    Energy,
    Price,
    SteadyEnergy,
    energy_of,
    price_of,
    steady_energy_of,
    watts_of,
)
from loadgen_study.analysis.load import Load, load_of, load_over_time
from loadgen_study.analysis.metrics import (
    kept_share,
    latencies,
    latencies_table,
    metrics,
    rates_table,
)
from loadgen_study.analysis.steady import NotSteady, Steady, steady_state
from loadgen_study.facts.inputs import Environment, MachineLimits
from loadgen_study.facts.results import Metrics, TestSummary
from loadgen_study.facts.tables import read_frame, read_journal, read_records
from loadgen_study.params import RunParams
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.records.base import Facts
from vllm_loadgen.records.columns import JOURNAL, TIMES
from vllm_loadgen.records.result import Result

RATE_WINDOWS = 20
# A table by its name, as a frame; an empty one where there is none.
Tables = Callable[[str], pd.DataFrame]
F = TypeVar("F", bound=Facts)


def facts_of(kind: type[F], name: str) -> "cached_property[F]":
    """A property of a run or test: the facts in one file of its folder, read once."""
    return cached_property(lambda owner: kind.read(owner.folder / name))


def facts_if_any(kind: type[F], name: str) -> "cached_property[F | None]":
    """As ``facts_of``; None where there is no such file."""
    return cached_property(lambda owner: kind.read_if_there(owner.folder / name))


@dataclass(frozen=True, eq=False, repr=False)
class Test:
    """A test's files. Everything that reports, compares or submits a test takes this object.

    Attributes:
        result: result.json. params: what this test was made with.
        folder: where it lies. tables: reads one of its tables by name.
    """

    __test__ = False  # pytest would take it for tests

    result: Result
    params: RunParams
    folder: Path
    tables: Tables

    @classmethod
    def open(cls, folder: Path) -> "Test":
        """The test in a folder; one that was killed has the status interrupted and what it wrote.

        Raises:
            BenchmarkError: if its facts cannot be read.
        """
        files = (place / "params.yaml" for place in (folder, *folder.parents))
        own = next(file for file in files if file.is_file())  # of the test, or of its run
        result, params = Result.read(folder / "result.json"), RunParams.recorded(own)
        tables = partial(_table, folder, cut_off=result.status == "running")
        if result.status == "running":
            records = tables("records")
            last_ns = records[[*TIMES]].max().max() if len(records) else 0
            known = {"queries": len(records), "duration_s": float(last_ns) / 1e9}
            result = result.model_copy(update={"status": "interrupted", **known})
        return cls(result, params, folder, tables)

    # None where only the run recorded them.
    environment = facts_if_any(Environment, "environment.json")
    machine = facts_if_any(MachineLimits, "machine.json")

    # What was written down ----------------------------------------------------------------------
    @cached_property
    def records(self) -> pd.DataFrame:
        """A row a query; null times stay null (see outputs/README.md).

        Raises:
            BenchmarkError: if the table is damaged, or is not the whole of this test.
        """
        records = self.tables("records")
        if self.result.queries not in (0, len(records)):
            raise BenchmarkError(
                f"{self.folder}/records.parquet has {len(records)} of {self.result.queries} "
                "queries. Run again in a new folder."
            )
        return records

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """The machine during the test (see ``Telemetry.frame``); empty if it was too short."""
        return self.tables("telemetry")

    @cached_property
    def replica_steps(self) -> pd.DataFrame:
        """The engine's steps (see ``telemetry.steps_table``); empty if it reports none."""
        return self.tables("engine_steps")

    # What is computed from it -------------------------------------------------------------------
    @cached_property
    def steps(self) -> pd.DataFrame:
        """``replica_steps``, with several engines as one (see ``analysis.replicas.together``)."""
        return replicas.together(self.replica_steps)

    @cached_property
    def replicas(self) -> pd.DataFrame:
        """The load of each of several engines (see ``analysis.replicas``); empty for one."""
        return replicas.loads(self.replica_steps)

    @cached_property
    def servers(self) -> pd.DataFrame:
        """The queries of each of several servers (see ``analysis.replicas``)."""
        return replicas.servers(self.latencies)

    @cached_property
    def latencies(self) -> pd.DataFrame:
        """Times and tokens of each query (see ``analysis.metrics.latencies``)."""
        return latencies(self.records)

    @cached_property
    def metrics(self) -> Metrics:
        """Throughput and latencies; of an accuracy test those of all its samples at once."""
        if self.result.mode == "accuracy":
            return metrics(self.latencies, "Offline")
        kept = self.kept_share if any(self.limits_ms.values()) else None
        return metrics(self.latencies, self.result.scenario, kept)

    @cached_property
    def load(self) -> Load:
        """Arrivals against service."""
        return load_of(self.latencies)

    @cached_property
    def load_over_time(self) -> pd.DataFrame:
        """How many queries were where (see ``analysis.load.load_over_time``)."""
        return load_over_time(self.latencies)

    @cached_property
    def steady(self) -> Steady | NotSteady:
        """The test between its ramp and its drain (see ``analysis.steady``)."""
        return steady_state(self.steps, self.latencies, self.result.scenario)

    @cached_property
    def placed(self) -> Placed | NoAnatomy:
        """Which of the engine's steps made which query's tokens (see ``analysis.anatomy``)."""
        return placed(self.replica_steps, self.latencies)

    @cached_property
    def others(self) -> pd.DataFrame:
        """What other programs used of this machine, by sample (see ``analysis.interference``)."""
        server_here = self.params.here and not self.params.engine_traits.started_here
        return interference.others(self.telemetry, server_here)

    @cached_property
    def disturbed(self) -> pd.DataFrame:
        """The times in which other programs used it, with the queries that they disturbed."""
        at_once = self.result.scenario_traits.at_once
        return interference.stretches(self.others, self.latencies, at_once)

    @cached_property
    def disturbed_queries(self) -> "pd.Series[bool]":
        """Which queries such a time overlaps, (queries,)."""
        frame, at_once = self.latencies, self.result.scenario_traits.at_once
        met = pd.Series(False, frame.index)
        for begin_s, end_s in zip(self.disturbed["begin_s"], self.disturbed["end_s"], strict=True):
            met |= interference.during(frame, begin_s, end_s, at_once)
        return met

    @cached_property
    def token_rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Output tokens/s over the test (see ``analysis.intervals.token_rates``)."""
        return intervals.token_rates(self.latencies, RATE_WINDOWS)

    @cached_property
    def tokens_per_s_interval(self) -> tuple[float, float]:
        """95 % interval of the output tokens/s."""
        return intervals.tokens_per_s_interval(self.latencies)

    @property
    def _metered(self) -> pd.DataFrame:
        """The telemetry, if it measures the engine's power; otherwise only the power of the machine
        that the user named."""
        gpus = self.environment.gpus if self.environment else ()
        own = self.params.here and not (gpus and self.params.devices > len(gpus))
        machine = [name for name in ("time_s", MACHINE[2]) if name in self.telemetry]
        return self.telemetry if own else self.telemetry[machine]

    @cached_property
    def energy(self) -> Energy | None:
        """Power and energy of the engine's machine; None if they were not measured."""
        return energy_of(self._metered, self.metrics.tokens_per_s)

    @property
    def metered(self) -> bool:
        """Whether any meter was read of the engine's machine."""
        sources = (*SOURCES, MACHINE)
        return any(name in self._metered for _, *columns in sources for name in columns if name)

    def steady_energy(self, idle: Mapping[str, float]) -> SteadyEnergy | None:
        """Energy for each token of the steady state; None without one, or if not measured.

        Args:
            idle: power without a query by source, W; without it that of the samples before the
                first query, if there are any.
        """
        found, frame = self.steady, self._metered
        if isinstance(found, NotSteady) or frame.empty:
            return None
        if not idle:
            idle = watts_of(frame[frame["time_s"] < self.latencies["issued_s"].min()])
        return steady_energy_of(frame, self.latencies, (found.begin_s, found.end_s), idle)

    def price(self, per_hour: float | None) -> Price | None:
        """The costs of its rate at a price per hour; None without one."""
        rates = self.metrics.tokens_per_s, self.metrics.samples_per_s
        return price_of(per_hour, *rates, self.params.rules.samples)

    @cached_property
    def limits_ms(self) -> dict[str, float]:
        """The limits on "ttft" and "tpot" that LoadGen judges by; 0 where there is none."""
        return early_stopping.limits_ms(self.result)

    @cached_property
    def kept_share(self) -> float:
        """The share of queries, 0 to 1, that kept those limits."""
        return kept_share(self.latencies, self.limits_ms)

    def __repr__(self) -> str:
        return "\n\n".join([self._title, *(table.to_string() for table in self._tables)])

    def _repr_html_(self) -> str:
        tables = "".join(table.to_html() for table in self._tables)
        return f"<b>{html.escape(self._title)}</b>{tables}"

    @property
    def _tables(self) -> list[pd.DataFrame]:
        return [rates_table(self.metrics), latencies_table(self.metrics)]

    @property
    def _title(self) -> str:
        return f"{self.result.scenario}, {self.result.mode}: {self.result.verdict}"

    def summary(self) -> TestSummary:
        """The test in a few figures, for summary.json."""
        return TestSummary.model_validate({**dict(self.result), "metrics": self.metrics})


def _table(folder: Path, name: str, cut_off: bool) -> pd.DataFrame:
    """A table of a test; of one that was cut off the records are in the journal."""
    path = folder / f"{name}.parquet"
    if name != "records":
        return read_frame(path) if path.is_file() else pd.DataFrame()
    if cut_off and not path.is_file():
        return read_journal(folder / JOURNAL).records
    return read_records(path)
