"""The next question: the peak, a sweep, one setting at a time. Each probe is a test of its own.

All three resume: a test that was finished under the same ``run_name`` is not made again.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vllm_loadgen.analysis import metrics as analysis
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.results.folders import read_json, write_json
from vllm_loadgen.rules import conformance
from vllm_loadgen.runs.live import Run, TestResult

# The search ends when the lowest rate that fails is this multiple of the highest that holds.
PRECISION = 1.05
GROWTH = 1.5
# A first guess, on the low side: a search that begins with a rate that holds is the shorter.
SERVER_SHARE = 0.7
# A rate so far below the first guess is no rate worth finding.
HOPELESS = 50
PROBE_MS = 60_000


@dataclass(frozen=True)
class Probe:
    """One rate that was tried."""

    qps: float
    valid: bool
    duration_s: float


def bounds(probes: list[Probe]) -> tuple[float, float]:
    """Highest rate that held and lowest that failed above it; 0 and infinity if there is none.

    A rate that held above one that failed is chance, and does not count.
    """
    high = min((probe.qps for probe in probes if not probe.valid), default=math.inf)
    return max((p.qps for p in probes if p.valid and p.qps < high), default=0.0), high


def next_rate(probes: list[Probe], start: float) -> float | None:
    """The rate to try next: bracket from ``start``, then bisect; None when the peak is known.

    Raises:
        BenchmarkError: if no rate worth finding holds.
    """
    low, high = bounds(probes)
    if not probes:
        rate = start
    elif not low:
        rate = high / GROWTH
    elif math.isinf(high):
        rate = low * GROWTH
    elif high / low <= PRECISION:
        return None
    else:
        rate = math.sqrt(low * high)
    if rate < start / HOPELESS:
        raise BenchmarkError(
            f"target_qps = 'auto': not even {high:.3g} queries/s keep the limits on this machine. "
            "Raise ttft_limit_ms or tpot_limit_ms, or take a smaller model."
        )
    return float(f"{rate:.4g}")


def probes_left(probes: list[Probe]) -> int:
    """How many more probes the bisection takes at most; one more while it still brackets."""
    low, high = bounds(probes)
    ratio = high / low if low and not math.isinf(high) else GROWTH
    # Each probe halves the interval on a logarithmic scale.
    return max(0, math.ceil(math.log2(math.log(ratio) / math.log(PRECISION)))) + (
        not low or math.isinf(high)
    )


def find_peak(run: Run, say: Callable[[str], Any] = print) -> TestResult:
    """The highest rate that LoadGen calls VALID, confirmed by the full performance test.

    The first guess comes from a short Offline test. Probes are shorter than the full test, so a
    peak that does not hold in it is taken back into the search. The course goes to peak.json.

    Args:
        say: takes a line about each probe.

    Raises:
        BenchmarkError: if no rate keeps the limits.
    """
    capacity = _test(
        run, "peak/offline", scenario="Offline", target_qps=1.0, min_duration_ms=1
    ).metrics["samples_per_s"]
    probes = _finished_probes(run)
    while True:
        rate = next_rate(probes, SERVER_SHARE * capacity)
        full = rate is None
        if full:
            rate = bounds(probes)[0]
            test = run.perform("performance", target_qps=rate)
        else:
            short = min(run.params.min_duration_ms or PROBE_MS, PROBE_MS)
            name = _next_name(run)
            test = run.perform("performance", name, target_qps=rate, min_duration_ms=short)
        probes.append(_probe(test))
        confirmed = full and probes[-1].valid
        _note_peak(run, capacity, probes, confirmed)
        say(_line(probes, full))
        if confirmed:
            return test
        if full:
            # Nothing measured is lost: it becomes one of the probes.
            run.rename("performance", _next_name(run))


def _line(probes: list[Probe], full: bool) -> str:
    last, left = probes[-1], probes_left(probes)
    mean_s = sum(probe.duration_s for probe in probes) / len(probes)
    text = f"{last.qps:.4g} queries/s: {'VALID' if last.valid else 'INVALID'}"
    if full:
        return f"{text} in the full test" + ("" if last.valid else ", so the search goes on")
    minutes = max(1, round(mean_s * (left + 1) / 60))
    return f"{text}; at most {left} more probes and the full test, about {minutes} min"


def _next_name(run: Run) -> str:
    number = 1
    while (run.folder / f"peak/{number:02d}").exists():
        number += 1
    return f"peak/{number:02d}"


def _finished_probes(run: Run) -> list[Probe]:
    paths = sorted(run.folder.glob("peak/[0-9]*/result.json"))
    tests = [TestResult(path.parent) for path in paths]
    return [_probe(test) for test in tests if test.result["status"] == "complete"]


def _probe(test: TestResult) -> Probe:
    verdict = conformance.effective_verdict(test.result, test.records)[0]
    return Probe(test.params.target_qps, verdict == "VALID", test.result["duration_s"])


def _note_peak(run: Run, capacity: float, probes: list[Probe], confirmed: bool) -> None:
    low, high = bounds(probes)
    write_json(
        run.folder / "peak.json",
        {
            "offline_samples_per_s": capacity,
            "highest_valid_qps": low,
            "lowest_invalid_qps": None if math.isinf(high) else high,
            "confirmed": confirmed,
            "probes": [vars(probe) for probe in probes],
        },
    )


def peak_table(run: Run) -> pd.DataFrame:
    """The probes of a search in their order; empty if there was none."""
    path = run.folder / "peak.json"
    if not path.is_file():
        return pd.DataFrame()
    frame = pd.DataFrame(read_json(path)["probes"])
    frame["valid"] = frame["valid"].map({True: "VALID", False: "INVALID"})
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="Probe")
    return frame.rename(columns={"qps": "queries/s", "valid": "verdict", "duration_s": "s"})


def sweep(run: Run) -> pd.DataFrame:
    """A Server test at each of ``sweep_qps``, an Offline test at each of ``sweep_concurrency``.

    Returns:
        see ``sweep_table``.
    """
    params = run.params
    for rate in params.sweep_qps:
        _test(run, f"sweep/{rate:g}-qps", scenario="Server", target_qps=rate)
    for number in params.sweep_concurrency:
        _test(
            run, f"sweep/{number}-at-once", scenario="Offline", concurrency=number,
            target_qps=1.0, min_duration_ms=1,
        )  # fmt: skip
    return sweep_table(run)


def sweep_table(run: Run) -> pd.DataFrame:
    """What a run's sweep found, one row a test; empty if there was none.

    Returns:
        index test; kind ("rate" or "concurrency"), offered (queries/s, or queries at once),
        verdict, samples_per_s, tokens_per_s, user_tokens_per_s (1 / mean TPOT: what one user
        sees), ttft_p50_ms, ttft_p99_ms, tpot_mean_ms, tpot_p99_ms, latency_mean_ms,
        goodput_per_s (queries/s that kept the limits on TTFT and TPOT; all, where there is none).
    """
    rows = {}
    for path in run.folder.glob("sweep/*/result.json"):
        test = TestResult(path.parent)
        if test.result["status"] == "complete":
            rows[path.parent.name] = _sweep_row(test)
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("test")
    return frame.sort_values(["kind", "offered"]) if len(frame) else frame


def _sweep_row(test: TestResult) -> dict[str, Any]:
    m = test.metrics
    by_rate = test.params.concurrency is None
    return {
        "kind": "rate" if by_rate else "concurrency",
        "offered": test.params.target_qps if by_rate else test.params.concurrency,
        "verdict": test.result["verdict"],
        "samples_per_s": m["samples_per_s"],
        "tokens_per_s": m["tokens_per_s"],
        "user_tokens_per_s": 1e3 / m["tpot_ms"]["mean"],
        "ttft_p50_ms": m["ttft_ms"]["p50"],
        "ttft_p99_ms": m["ttft_ms"]["p99"],
        "tpot_mean_ms": m["tpot_ms"]["mean"],
        "tpot_p99_ms": m["tpot_ms"]["p99"],
        "latency_mean_ms": m["latency_ms"]["mean"],
        "goodput_per_s": m["samples_per_s"] * analysis.kept_share(test.records, test.result),
    }


def tune(run: Run, say: Callable[[str], Any] = print) -> pd.DataFrame:
    """Vary each parameter of ``tune`` alone, each value with an engine of its own.

    The run's own parameters are measured first and, to show drift, last again.

    Returns:
        see ``tune_table``.
    """
    run.close()  # two engines at once would measure each other
    variants: list[tuple[str, dict[str, Any]]] = [("baseline", {})]
    for name, values in run.params.tune.items():
        variants += [(_title(name, value), {name: value}) for value in values]
    variants.append(("baseline again", {}))
    for number, (title, changes) in enumerate(variants):
        begin = time.monotonic()
        problem = _measure_variant(run, f"tune/{number:02d}", title, changes)
        outcome = problem or f"{time.monotonic() - begin:.0f} s"
        say(f"{number + 1} of {len(variants)}: {title}: {outcome}")
    return tune_table(run)


def _title(name: str, value: Any) -> str:
    """A variant's name; of ``engine_options`` what they are."""
    if isinstance(value, dict):
        return ", ".join(_title(*item) for item in value.items())
    return f"{name}={value}"


def _measure_variant(run: Run, name: str, title: str, changes: dict[str, Any]) -> str:
    """One variant; a setting that the engine refuses is a result too, returned as one line."""
    folder = run.folder / name
    if (folder / "variant.json").is_file():
        return read_json(folder / "variant.json")["problem"]
    problem = ""
    with run.variant(name, **changes) as variant:
        try:
            _test(variant, "performance")
            if run.params.tune_accuracy:
                _test(variant, "accuracy", mode="accuracy", scenario="Offline", target_qps=1.0)
                variant.score()
        except BenchmarkError as error:
            problem = str(error).splitlines()[0]
    write_json(folder / "variant.json", {"title": title, "problem": problem})
    return problem


def tune_table(run: Run) -> pd.DataFrame:
    """What a run's tuning found, one row a variant in order; empty if there was none.

    Returns:
        index variant; tokens_per_s, ci_low and ci_high (95 %, of tokens_per_s), ratio (to the
        mean of both baselines), ttft_mean_ms, tpot_mean_ms, verdict, rouge1 (None if not asked),
        rules ("kept", or those that this variant breaks and the baseline does not), problem.
    """
    rows = {}
    for path in sorted(run.folder.glob("tune/*/variant.json")):
        facts, variant = read_json(path), Run.open(path.parent)
        rows[facts["title"]] = _tune_row(variant) | {"problem": facts["problem"]}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")
    if frame.empty:
        return frame
    baselines = frame[frame.index.str.startswith("baseline")]
    frame.insert(3, "ratio", frame["tokens_per_s"] / baselines["tokens_per_s"].mean())
    own = baselines["rules"].iloc[0]
    frame["rules"] = [", ".join(r for r in broken if r not in own) or "kept"
                      for broken in frame["rules"]]  # fmt: skip
    return frame


def _tune_row(variant: Run) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(
        ("tokens_per_s", "ci_low", "ci_high", "ttft_mean_ms", "tpot_mean_ms"), math.nan
    )
    row |= {"verdict": "", "rouge1": None, "rules": []}
    if variant.finished("performance"):
        test = variant.test("performance")
        low, high = analysis.tokens_per_s_interval(test.records)
        row |= {
            "tokens_per_s": test.metrics["tokens_per_s"], "ci_low": low, "ci_high": high,
            "ttft_mean_ms": test.metrics["ttft_ms"]["mean"],
            "tpot_mean_ms": test.metrics["tpot_ms"]["mean"],
            "verdict": test.result["verdict"],
            "rules": [rule.rule for rule in conformance.engine_departures(variant.params)],
        }  # fmt: skip
    with suppress(KeyError):
        row["rouge1"] = variant.accuracy["score"]["rouge1"]
    return row


def _test(run: Run, name: str, mode: str = "performance", **changes: Any) -> TestResult:
    """A test of the run, made unless it was finished before."""
    if run.finished(name):
        return run.test(name)
    return run.perform(mode, name, **changes)
