"""MLPerf's LLM benchmarks: each module of this package with ``RECORDS`` is found and listed.

Sources: mlcommons/inference, ``inference_rules.adoc`` of inference_policies, ``mlperf.conf``
(inside LoadGen, which the tests hold against ``samples``) and
``tools/submission/submission_checker/constants.py``.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from loadgen_study.benchmarks.record import Benchmark

_modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
BENCHMARKS: Mapping[str, Benchmark] = {
    record.name: record for module in _modules for record in getattr(module, "RECORDS", ())
}
HUB_DATASETS = {
    one.dataset.name: one.dataset for one in BENCHMARKS.values() if one.dataset.hub is not None
}
