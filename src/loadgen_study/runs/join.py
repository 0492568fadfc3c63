"""Run All without a run_name: notebooks opened one after another fill one run's folder.

A notebook joins the newest run that was begun without a name on this machine in the last day, of
the same parameters but for its rate and its extra tests, in which no notebook of its kind has made
its test. What a notebook makes it claims first, so that two kernels never make the same test.
"""

import re
from datetime import datetime, timedelta
from pathlib import Path

from loadgen_study.params import COSTS, EXTRA, RunParams
from loadgen_study.results.folders import outputs_folder
from vllm_loadgen.errors import BenchmarkError

STAMP, STAMPED = "%Y%m%d-%H%M%S", re.compile(r"(\d{8}-\d{6})-")
JOINED_FOR = timedelta(hours=24)
CLAIMS = ".claims"  # a folder of the run's, with an empty file a notebook


def newest_unnamed(params: RunParams, kind: str) -> Path | None:
    """The folder that a notebook joins; it is claimed.

    Args:
        params: as they are recorded. kind: "setup", "accuracy" or "perf".
    """
    outputs = outputs_folder(params.outputs)
    stamped = {path: STAMPED.match(path.name) for path in outputs.glob("*") if path.is_dir()}
    newest = max((path for path, match in stamped.items() if match), default=None)
    if newest is None or not (newest / CLAIMS).is_dir():
        return None
    match = stamped[newest]
    assert match is not None  # of those that are none, max took no one
    if datetime.now() - datetime.strptime(match[1], STAMP) > JOINED_FOR:
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
    others = (EXTRA, COSTS)
    of_perf = {name for name in params.names() if params.group(name) in others}
    of_perf |= {*params.names("performance")}
    return known.model_dump(exclude=of_perf) == params.model_dump(exclude=of_perf)
