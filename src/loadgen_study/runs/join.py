"""Run All without a run_name: notebooks opened one after another fill one run's folder.

A notebook joins the newest unnamed run of the last day with the same parameters, apart from the
rate and the extra tests, unless a notebook of its kind has joined before. It claims its test first,
so that two kernels never make the same one.
"""

import re
from datetime import datetime, timedelta
from pathlib import Path

from loadgen_study.params import COSTS, EXTRA, RunParams
from loadgen_study.results.folders import outputs_folder
from vllm_loadgen.errors import BenchmarkError

STAMP, STAMPED, STAMP_LENGTH = "%Y%m%d-%H%M%S", re.compile(r"\d{8}-\d{6}-"), 15
JOINED_FOR = timedelta(hours=24)
CLAIMS = ".claims"  # a folder of the run's, with an empty file a notebook


def newest_unnamed(params: RunParams, kind: str) -> Path | None:
    """The folder that a notebook joins; it is claimed.

    Args:
        params: as they are recorded. kind: "setup", "accuracy" or "perf".
    """
    outputs = outputs_folder(params.outputs)
    stamped = [path for path in outputs.glob("*") if STAMPED.match(path.name) and path.is_dir()]
    newest = max(stamped, default=None)
    if newest is None or not (newest / CLAIMS).is_dir():
        return None
    started = datetime.strptime(newest.name[:STAMP_LENGTH], STAMP)
    if datetime.now() - started > JOINED_FOR:
        return None
    return newest if _same(newest, params) and claim(newest, kind) else None


def claim(folder: Path, kind: str) -> bool:
    """Whether this notebook is the first of its kind in a run."""
    (folder / CLAIMS).mkdir(exist_ok=True)
    try:
        (folder / CLAIMS / kind).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _same(folder: Path, params: RunParams) -> bool:
    """Whether a run's parameters are these, but for the rate and the extra tests of perf.ipynb."""
    try:
        known = RunParams.recorded(folder / "params.yaml")
    except BenchmarkError:
        return False
    of_perf = {name for name in params.names() if params.group(name) in (EXTRA, COSTS)}
    of_perf |= {*params.names("performance")}
    return known.model_dump(exclude=of_perf) == params.model_dump(exclude=of_perf)
