"""What the curves cost that grow in a notebook while a test runs.

``python curves.py KIND QUERIES RATE`` makes one test on the echo engine from within a notebook's
kernel, as a run makes it. KIND: "curves" with them, "none" without. The last line printed is JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from ceiling import PROMPTS, settings_of
from nbclient import NotebookClient

from loadgen_study.analysis.metrics import latencies
from loadgen_study.analysis.percentiles import percentile
from loadgen_study.facts.tables import read_records
from loadgen_study.runs import curves
from vllm_loadgen.harness.session import Session

CELL = """
import json, sys
sys.path.insert(0, {here!r})
from curves import here
print(json.dumps(here({kind!r}, {queries}, {rate})))
"""


def here(kind: str, queries: int, rate: float) -> dict[str, Any]:
    """One test, in this kernel.

    Returns:
        queries; delay_p99_ms (of the harness's issue behind the schedule); kernel_share (of one
        core's time, that the kernel takes during the test).
    """
    if kind == "none":
        curves.in_notebook = lambda: False
    params = settings_of("Server", queries, rate)
    with tempfile.TemporaryDirectory() as path, Session(params, "", Path(path, "log")) as session:
        folder = Path(path, "test")
        folder.mkdir()
        begin, cpu = time.monotonic(), time.process_time()
        with curves.shown_test(params, len(PROMPTS), "performance") as show:
            session.run(params, PROMPTS, "performance", folder, on_progress=show)
        share = (time.process_time() - cpu) / (time.monotonic() - begin)
        frame = latencies(read_records(folder / "records.parquet"))
    delay_ms = percentile(frame["schedule_delay_ms"], 0.99)
    return {"queries": len(frame), "delay_p99_ms": delay_ms, "kernel_share": share}


def measure(kind: str, queries: int, rate: float) -> dict[str, Any]:
    """``here`` in a kernel of its own."""
    source = CELL.format(here=str(Path(__file__).parent), kind=kind, queries=queries, rate=rate)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, kernel_name="python3").execute()
    (printed,) = (
        output["text"] for output in notebook.cells[0].outputs if output.get("name") == "stdout"
    )
    return json.loads(printed.splitlines()[-1])


if __name__ == "__main__":
    kind, queries, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(measure(kind, queries, rate), default=np.generic.item))
