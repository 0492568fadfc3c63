"""The same test over HTTP and in process."""

import pandas as pd

from loadgen_study.prose import render
from loadgen_study.results.run import Run


def text(run: Run, table: pd.DataFrame) -> str:
    """How to read ``runs.served.served_table``; empty without both ways."""
    if table.empty:
        return ""
    params = run.params
    limits = (params.max_num_seqs, params.max_num_batched_tokens)
    return render(
        "report/sections/served",
        whole_answers=params.engine_options.get("stream_interval") is None,
        other_limits=params.scenario_traits.at_once and None in limits,
    )
