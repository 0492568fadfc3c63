"""The parts of a query's latency, and its tail."""

from loadgen_study.analysis.percentiles import PERCENTILES, lacking, tail
from loadgen_study.prose import render
from loadgen_study.results.test import Test


def text(test: Test) -> str:
    """The parts of the mean TTFT, the tail against the median, the first percentile it lacks."""
    metrics = test.metrics
    tails = []
    for name, known in (("TTFT", metrics.ttft_ms), ("TPOT", metrics.tpot_ms)):
        if (label := tail(known.queries)) not in (None, "p50") and known.p50:
            tails.append((name, label, getattr(known, label) / known.p50))
    lacks = (lacking(metrics.ttft_ms.queries, share) for share in PERCENTILES.values())
    return render(
        "report/sections/latency",
        metrics=metrics,
        tails=tails,
        lacks=next(filter(None, lacks), ""),
    )
