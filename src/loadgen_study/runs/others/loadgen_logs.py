"""LoadGen's logs of a test made elsewhere, such as an official result.

They hold no times of single queries: LoadGen's figures are shown as reported, and no percentile is
computed. The files are mlperf_log_detail.txt and mlperf_log_summary.txt of LoadGen 5.1 to 6.0
(loadgen/results.cc); without the detail log, the summary with its rounded figures. Scores are those
of accuracy.txt: an accuracy log has token ids, and neither their tokenizer nor the references.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from loadgen_study.runs.others.origin import Compared, Load, Origin, from_files
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.harness.log import DETAIL, SUMMARY, read_log
from vllm_loadgen.records.base import as_number

TOOL = "LoadGen"
# MLCommons' layout: results/SYSTEM/MODEL/SCENARIO/performance/run_1.
RUN = "performance/run_1"
LOADS: dict[str, Load] = {
    "Server": "open loop",
    "Offline": "all at once",
    "SingleStream": "closed loop",
}
# Key of the detail log -> this project's figure, and its factor.
FIGURES = {
    "completed_samples_per_sec": ("samples_per_s", 1.0),
    "samples_per_second": ("samples_per_s", 1.0),
    "completed_tokens_per_second": ("tokens_per_s", 1.0),
    "tokens_per_second": ("tokens_per_s", 1.0),
    "first_token_mean_latency_ns": ("ttft_ms", 1e-6),
    "time_to_output_token_mean": ("tpot_ms", 1e-6),
    "mean_latency_ns": ("latency_ms", 1e-6),
}
NUMBER = r"(\d+(?:\.\d+)?)"
PERCENTILES = {
    rf"first_token_{NUMBER}_percentile_latency_ns": "TTFT",
    rf"time_per_output_token_{NUMBER}_percentile_ns": "TPOT",
    rf"{NUMBER}_percentile_latency_ns": "latency",
}
# Line of the summary -> the same figure's key in the detail log.
LINES = {
    r"completed samples per second": "completed_samples_per_sec",
    r"samples per second": "samples_per_second",
    r"completed tokens per second": "completed_tokens_per_second",
    r"tokens per second": "tokens_per_second",
    r"mean first token latency \(ns\)": "first_token_mean_latency_ns",
    r"mean time (?:to|per) output token \(ns\)": "time_to_output_token_mean",
    r"mean latency \(ns\)": "mean_latency_ns",
    rf"{NUMBER} percentile first token latency \(ns\)": r"first_token_{}_percentile_latency_ns",
    rf"{NUMBER} percentile time to output token \(ns\)": r"time_per_output_token_{}_percentile_ns",
    rf"{NUMBER} percentile latency \(ns\)": r"{}_percentile_latency_ns",
}
# The scores that MLCommons' scripts print as a dict, next to LoadGen's log of the accuracy test.
ACCURACY = "accuracy/accuracy.txt"
SCORE = re.compile(rf"'([a-z][\w-]*)': (?:np\.float64\()?'?{NUMBER}", re.IGNORECASE)
# Twice the rounding error: two digits after the point, and six digits in all.
SUMMARY_ROUNDS_BY, DETAIL_ROUNDS_BY = 0.01, 1e-5
ESTIMATE = re.compile(rf"Early stopping {NUMBER}\w* percentile estimate: (\d+)", re.IGNORECASE)


def find(path: Path) -> Path | None:
    """The folder of LoadGen's logs: this one, its performance test's, or None."""
    found = (path, path / "performance", path / RUN)
    return next((f for f in found if (f / DETAIL).is_file() or (f / SUMMARY).is_file()), None)


def read(folder: Path, name: str) -> Compared:
    """The performance test in a folder of ``find``.

    Raises:
        ParameterError: if the logs are not of a performance test, or of different ones.
        BenchmarkError: if the detail log is damaged.
    """
    path = folder / SUMMARY
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    summary = _summary(text)
    results = _from_lines(summary)
    if (folder / DETAIL).is_file():
        log = read_log(folder)
        scenario = str(log.effective_settings.__pydantic_extra__.get("scenario", ""))
        verdict: str | None = log.verdict
        results = _finer(log.loadgen_results.__pydantic_extra__, results, name)
    else:
        scenario, verdict = summary.get("scenario", ""), summary.get("result is")
    values = {
        figure: number * unit
        for key, (figure, unit) in FIGURES.items()
        if (number := as_number(results.get(key))) is not None
    }
    if "samples_per_s" not in values and "latency_ms" not in values:
        cure = "give the folder of its performance test"
        raise ParameterError("runs", name, "has LoadGen's logs of no performance test", cure)
    place = _place(folder)
    estimates = {
        f"early-stopping estimate of latency p{float(share):g}, ms": float(estimate_ns) / 1e6
        for share, estimate_ns in ESTIMATE.findall(text)
    }
    return from_files(
        " ".join(place) or Path(name).name or folder.name,
        _origin(place, scenario, values),
        values,
        reported(results) | estimates | _scores(folder),
        verdict=verdict,
    )


def reported(results: Mapping[str, JsonValue]) -> dict[str, float]:
    """LoadGen's percentiles by their titles: "TTFT p99, ms".

    Args:
        results: of the detail log, by keys without "result_", as in ``LoadgenResults``.
    """
    return {
        f"{latency} p{float(match[1]):g}, ms": number / 1e6
        for key, value in results.items()
        for pattern, latency in PERCENTILES.items()
        if (match := re.fullmatch(pattern, key)) and (number := as_number(value)) is not None
    }


def scores(printed: Mapping[str, str | float]) -> dict[str, float]:
    """The finite scores that MLCommons' script prints, by titles: "rouge1 of accuracy.txt"."""
    values = {f"{name} of accuracy.txt": float(value) for name, value in printed.items()}
    return {title: value for title, value in values.items() if math.isfinite(value)}


def _scores(folder: Path) -> dict[str, float]:
    """Those of the accuracy test next to this performance test; none if its file is not there."""
    depth = {Path(RUN).name: 1, Path(RUN).parent.name: 0}.get(folder.name)
    path = folder / ACCURACY if depth is None else folder.parents[depth] / ACCURACY
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return scores(dict(SCORE.findall(text)))


def _origin(place: tuple[str, ...], scenario: str, values: Mapping[str, float]) -> Origin:
    samples, tokens = values.get("samples_per_s"), values.get("tokens_per_s")
    model = place[1] if place else None
    return Origin(
        tool=TOOL,
        model=model,
        data=f"MLPerf {model}" if model else "",
        load=LOADS.get(scenario),
        latency_from="due",
        tokens_by="the system under test",
        output_tokens=tokens / samples if tokens and samples else None,
    )


def _place(folder: Path) -> tuple[str, ...]:
    """System, model and scenario by MLCommons' layout; empty in any other."""
    parts = folder.resolve().parts
    is_official = (parts[-6:-5], parts[-2:-1]) == (("results",), ("performance",))
    return parts[-5:-2] if is_official else ()


def _summary(text: str) -> dict[str, str]:
    """The lines "name : value", by name in lower case; of a repeated name the first."""
    found: dict[str, str] = {}
    for name, colon, value in (line.partition(":") for line in text.splitlines()):
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _from_lines(summary: Mapping[str, str]) -> dict[str, JsonValue]:
    return {
        key.format(*match.groups()): float(value)
        for line, value in summary.items()
        for pattern, key in LINES.items()
        if (match := re.fullmatch(pattern, line)) and re.fullmatch(NUMBER, value)
    }


def _finer(
    detail: Mapping[str, JsonValue], summary: Mapping[str, JsonValue], name: str
) -> dict[str, JsonValue]:
    """The detail log's results, which have six digits, or the summary's where it has more.

    Raises:
        ParameterError: if the two logs are not of the same test.
    """
    finer = dict(detail)
    for key, value in summary.items():
        one, other = as_number(detail.get(key)), as_number(value)
        if one is None or other is None:
            continue
        if abs(one - other) > max(SUMMARY_ROUNDS_BY, DETAIL_ROUNDS_BY * abs(one)):
            problem = f"has a summary and a detail log of different tests ({key})"
            raise ParameterError("runs", name, problem, "give the logs of one test")
        if abs(one) * DETAIL_ROUNDS_BY > SUMMARY_ROUNDS_BY and not isinstance(detail[key], int):
            finer[key] = other
    return finer
