"""Reads and writes the JSON of ``vllm bench serve --save-result``.

The format of vLLM 0.32 (vllm/benchmarks/serve.py). TTFT and latency count from when a query was
sent; percentiles are numpy's. Only ``--save-detailed`` saves single queries. The file does not
record the warm-up, nor whether the server or the client's tokenizer counted the tokens.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, JsonValue

from loadgen_study.analysis.metrics import answered
from loadgen_study.results.run import Run
from loadgen_study.runs.others.origin import OWN, Compared, Load, Origin, from_files
from vllm_loadgen.records.base import Part

TOOL = "vllm bench serve"
MARKS = {"model_id", "request_throughput", "output_throughput"}
# Its name of a latency -> this project's, and the title of its percentiles.
LATENCIES = {
    "ttft": ("ttft_ms", "TTFT"),
    "tpot": ("tpot_ms", "TPOT"),
    "e2el": ("latency_ms", "latency"),
}
PERCENTILE = re.compile(r"(?:p([\d.]+)|median)_(ttft|tpot|e2el)_ms")


class Saved(Part):
    """One result, as far as it is read; its percentiles are among the extra keys."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    model_id: str
    request_rate: float = math.inf
    max_concurrency: int | None = None
    completed: int
    total_input_tokens: int
    total_output_tokens: int
    request_throughput: float
    output_throughput: float
    output_lens: tuple[int, ...] = ()
    ttfts: tuple[float, ...] = ()
    itls: tuple[tuple[float, ...], ...] = ()
    latencies: tuple[float, ...] = ()


def read(content: Mapping[str, JsonValue], name: str) -> list[Compared]:
    """The result in a file.

    Raises:
        ValueError: if the file is damaged.
    """
    saved = Saved.model_validate(content)
    extra = saved.__pydantic_extra__
    stated = {"samples_per_s": saved.request_throughput, "tokens_per_s": saved.output_throughput}
    stated |= {
        figure: float(value)
        for short, (figure, _) in LATENCIES.items()
        if isinstance(value := extra.get(f"mean_{short}_ms"), int | float)
    }
    origin = Origin(
        tool=TOOL,
        model=saved.model_id,
        load=_load(saved),
        latency_from="sent",
        input_tokens=saved.total_input_tokens / saved.completed if saved.completed else None,
        output_tokens=saved.total_output_tokens / saved.completed if saved.completed else None,
    )
    reported = {
        f"{LATENCIES[match[2]][1]} p{float(match[1] or 50):g}, ms": float(value)
        for key, value in extra.items()
        if (match := PERCENTILE.fullmatch(key)) and isinstance(value, int | float)
    }
    return [from_files(name, origin, stated, reported, _queries(saved))]


def _load(saved: Saved) -> Load:
    if math.isfinite(saved.request_rate):
        return "open loop"
    return "all at once" if saved.max_concurrency is None else "closed loop"


def _queries(saved: Saved) -> pd.DataFrame | None:
    """Latencies of the answered queries, ms; None without single queries."""
    lengths, ttfts = np.array(saved.output_lens), np.array(saved.ttfts)
    if not len(lengths):
        return None
    from_tokens = [first + sum(gaps) for first, gaps in zip(saved.ttfts, saved.itls, strict=False)]
    latencies = np.array(saved.latencies or from_tokens)
    if not len(lengths) == len(ttfts) == len(latencies):
        raise ValueError("output_lens, ttfts and latencies are of different lengths")
    frame = pd.DataFrame({"ttft_ms": 1e3 * ttfts, "latency_ms": 1e3 * latencies})
    gaps = pd.Series(lengths - 1).where(lengths > 1)
    frame["tpot_ms"] = (frame["latency_ms"] - frame["ttft_ms"]) / gaps
    return frame[lengths > 0]


def written(run: Run) -> dict[str, object]:
    """The performance test of a run in this format; gaps between tokens are not recorded."""
    test, model = run.test(run.performance_name), run.model.name
    frame = test.latencies[answered(test.latencies)]
    scheduled = test.result.scenario_traits.scheduled
    return {
        "date": pd.Timestamp(test.result.started_at or 0).strftime("%Y%m%d-%H%M%S"),
        "backend": OWN,
        "model_id": model,
        "tokenizer_id": model,
        "num_prompts": len(test.latencies),
        "request_rate": test.result.effective_settings.target_qps if scheduled else "inf",
        "burstiness": 1.0,
        "max_concurrency": test.params.concurrency,
        "failed": len(test.latencies) - len(frame),
        "errors": [""] * len(frame),
        **_totals(frame, test.metrics.duration_s),
        **_detailed(frame),
    }


def _totals(frame: pd.DataFrame, duration_s: float) -> dict[str, float]:
    """Counts, and rates over the whole test, as vllm bench serve computes them."""
    read, made = (int(frame[name].sum()) for name in ("input_tokens", "output_tokens"))
    per_s = 1 / duration_s if duration_s else 0.0
    return {
        "duration": duration_s,
        "completed": len(frame),
        "total_input_tokens": read,
        "total_output_tokens": made,
        "request_throughput": len(frame) * per_s,
        "output_throughput": made * per_s,
        "total_token_throughput": (read + made) * per_s,
    }


def _detailed(frame: pd.DataFrame) -> dict[str, object]:
    """Single queries, s, and their statistics, ms; times count from when each was sent."""
    sent_ms = 1e3 * (frame["done_s"] - frame["given_s"])
    times_ms = {"ttft": frame["sent_ttft_ms"], "tpot": frame["tpot_ms"], "e2el": sent_ms}
    stats: dict[str, float] = {}
    for name, values in times_ms.items():
        if len(known := values.dropna()):
            stats[f"mean_{name}_ms"] = float(known.mean())
            stats[f"median_{name}_ms"] = float(known.median())
            stats[f"std_{name}_ms"] = float(known.std(ddof=0))
            stats[f"p99_{name}_ms"] = float(known.quantile(0.99))
    return {
        "input_lens": frame["input_tokens"].tolist(),
        "output_lens": frame["output_tokens"].tolist(),
        "ttfts": (frame["sent_ttft_ms"] / 1e3).tolist(),
        "latencies": (sent_ms / 1e3).tolist(),
        "start_times": frame["given_s"].tolist(),
        **stats,
    }
