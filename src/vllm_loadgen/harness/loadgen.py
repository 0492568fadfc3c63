"""LoadGen: official settings, user.conf, one test, and when its queries are due."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg
import numpy as np

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.params import OFFICIAL_DURATION_MS, TestParams

MODES = {
    "performance": lg.TestMode.PerformanceOnly,
    "accuracy": lg.TestMode.AccuracyOnly,
    # Compliance tests are performance runs that log answers, by their audit.config.
    "compliance": lg.TestMode.PerformanceOnly,
}
# user.conf key -> (attribute of TestSettings, factor from the file's number to it)
READ_BACK: dict[str, tuple[str, float]] = {
    "min_duration": ("min_duration_ms", 1),
    "min_query_count": ("min_query_count", 1),
    "performance_sample_count_override": ("performance_sample_count_override", 1),
    "ttft_latency": ("ttft_latency", 1_000_000),
    "tpot_latency": ("tpot_latency", 1_000_000),
}


def user_conf(params: TestParams, sample_count: int, mode: str = "performance") -> dict[str, float]:
    """The keys of user.conf and their values, in that file's units.

    The rate, and what differs from the benchmark's own values.

    Args:
        sample_count: samples in the dataset; fewer than the benchmark's must be declared.
        mode: an accuracy test issues every sample, whatever a performance test draws from.
    """
    official = official_settings(params)
    values: dict[str, float | None] = {
        "min_duration": params.min_duration_ms,
        "min_query_count": params.min_query_count,
    }
    asked = params.performance_samples if mode != "accuracy" else None
    drawn = min(sample_count, asked or official.performance_sample_count_override)
    if drawn != official.performance_sample_count_override:
        values["performance_sample_count_override"] = drawn
    if params.scenario_traits.one_by_one:
        values["target_latency"] = params.target_latency_ms
    else:
        values["target_qps"] = params.rate
    if params.scenario_traits.limited:
        values["ttft_latency"] = params.ttft_limit_ms
        values["tpot_latency"] = params.tpot_limit_ms
        if params.target_latency_percentile is not None:
            values["target_latency_percentile"] = round(params.target_latency_percentile * 100, 6)
    return {key: value for key, value in values.items() if value is not None}


def official_settings(params: TestParams) -> lg.TestSettings:
    """The benchmark's settings from the mlperf.conf inside LoadGen.

    Type 0 reads only that file: LoadGen skips it silently on the second ``FromConfig`` of a
    process under any other type (see the package's README, Traps).
    """
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, params.scenario)
    code = settings.FromConfig("", params.benchmark, params.scenario, 0)
    if code != 0:
        raise BenchmarkError(
            f"LoadGen could not read its own mlperf.conf for benchmark = {params.benchmark!r} "
            f"(code {code}). Reinstall mlcommons-loadgen."
        )
    return settings


def make_settings(params: TestParams, mode: str, conf: Mapping[str, float], path: Path) -> Any:
    """Write user.conf to ``path``, apply it over the official settings and read it back.

    Raises:
        BenchmarkError: if LoadGen refused the file or ignored a key of it.
    """
    lines = [f"{params.benchmark}.{params.scenario}.{key} = {conf[key]:.12g}" for key in conf]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = official_settings(params)
    code = settings.FromConfig(str(path), params.benchmark, params.scenario, 2)
    if code != 0:
        raise BenchmarkError(f"LoadGen refused {path} (code {code}): {'; '.join(lines)}")
    settings.mode = MODES[mode]
    for key, value in conf.items():
        attribute, factor = ({**READ_BACK, **params.scenario_traits.keys})[key]
        taken = getattr(settings, attribute)
        if not math.isclose(taken, value * factor, rel_tol=1e-6):
            raise BenchmarkError(
                f"LoadGen ignored {key} = {value:g} of user.conf: its {attribute} is {taken}."
            )
    return settings


def run_test(
    sut: Any, sample_count: int, settings: Any, folder: Path, audit_config: Path | None = None
) -> None:
    """One LoadGen test from start to end, in the calling thread; logs go into ``folder``.

    Args:
        sut: has ``issue(ids, indices)`` and ``flush()``.
        sample_count: samples in the QSL.
        settings: of ``make_settings``.
        audit_config: file of a compliance test.
    """
    folder.mkdir(parents=True, exist_ok=True)  # without it LoadGen returns silently
    log_settings = lg.LogSettings()
    log_settings.log_output.outdir = str(folder)
    log_settings.log_output.copy_summary_to_stdout = False
    log_settings.enable_trace = False
    loaded = min(sample_count, settings.performance_sample_count_override)
    # All samples are in memory from the start: there is nothing to load.
    qsl = lg.ConstructQSL(sample_count, loaded, _nothing, _nothing)
    handle = lg.ConstructFastSUT(sut.issue, sut.flush)
    try:
        audit = str(audit_config) if audit_config else str(folder / "no-audit.config")
        lg.StartTestWithLogSettings(handle, qsl, settings, log_settings, audit)
    finally:
        lg.DestroyFastSUT(handle)
        lg.DestroyQSL(qsl)
        (folder / "mlperf_log_trace.json").unlink(missing_ok=True)  # made empty though turned off


def _nothing(_: list[int]) -> None:
    pass


def server_schedule_ns(seed: int, target_qps: float, queries: int) -> np.ndarray:
    """When each query of a Server test is due, int64 ns (queries,), from the schedule's start.

    LoadGen draws the gaps with ``std::exponential_distribution`` over ``std::mt19937``
    (loadgen/test_settings, ``ScheduleDistribution``); libstdc++ makes each from two 32-bit
    draws, low word first, and cuts it to whole nanoseconds. The first query is due at 0.
    """
    generator = np.random.MT19937()
    generator._legacy_seeding(seed % 2**32)
    words = generator.random_raw(2 * queries).astype(np.float64)
    uniform = (words[0::2] + words[1::2] * 2.0**32) / 2.0**64
    gaps_ns = (-np.log(1.0 - uniform) / target_qps * 1e9).astype(np.int64)
    return np.concatenate(([0], np.cumsum(gaps_ns)[:-1])).astype(np.int64)


def planned_ns(params: TestParams, seed: int, queries: int) -> np.ndarray | None:
    """When the first queries of a test are due, int64 ns (queries,), from the schedule's start.

    None in SingleStream, where a query is due when the one before is answered.
    """
    if params.scenario_traits.scheduled:
        return server_schedule_ns(seed, params.rate, queries)
    return np.zeros(queries, dtype=np.int64) if params.scenario_traits.at_once else None


def schedule_ns(params: TestParams, seed: int, issued_ns: np.ndarray) -> np.ndarray | None:
    """The due times of a test's queries, or None where a query is due when issued.

    The Server schedule is computed again from LoadGen's seed; should the real one differ (another
    C++ library), queries would seem early or the harness absurdly late, and None is the answer.
    """
    due = planned_ns(params, seed, len(issued_ns))
    if due is None or not params.scenario_traits.scheduled or len(issued_ns) == 0:
        return due
    late = issued_ns - due
    late = late - late.min()
    plausible = np.median(late) < 0.1 * (issued_ns[-1] - issued_ns[0] + 1e9)
    return due if plausible else None


def offered_share(params: TestParams, seed: int | None, issued_s: Sequence[float]) -> float:
    """The share of a Server test's rate at which its queries were issued: 1 unless issued late.

    The time over which LoadGen meant to issue them, by the gaps that it drew, over the time that it
    took. Unlike ``schedule_ns``, it has a value where the two are far apart.

    Args:
        seed: LoadGen's schedule_rng_seed; None if its log lacks it.
        issued_s: when each query was issued, in order.
    """
    if not params.scenario_traits.scheduled or seed is None or len(issued_s) < 2:
        return 1.0
    due_s = float(server_schedule_ns(seed, params.rate, len(issued_s))[-1]) / 1e9
    took_s = issued_s[-1] - issued_s[0]
    return min(1.0, due_s / took_s) if took_s > 0 else 1.0


def expected_queries(params: TestParams, samples: int, mode: str) -> int:
    """About how many queries LoadGen will issue: it rounds up to whole passes of the samples."""
    if mode == "accuracy":
        return samples
    official = official_settings(params)
    drawn = params.performance_samples or official.performance_sample_count_override
    samples = min(samples, drawn)
    fewest = params.min_query_count or official.min_query_count
    one_by_one = params.scenario_traits.one_by_one
    rate = 1000 / params.target_latency_ms if one_by_one else params.rate
    by_duration = rate * (params.min_duration_ms or OFFICIAL_DURATION_MS) / 1000
    if params.scenario_traits.at_once:
        by_duration *= 1.1  # LoadGen's slack
    passes = math.ceil(max(fewest, by_duration) / samples)
    return passes * samples
