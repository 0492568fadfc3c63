"""An accuracy test that goes on where an earlier one was cut off, and its answers in one log."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from loadgen_study.accuracy.log import ACCURACY_LOG, TOKEN_BYTES, read_accuracy_log
from loadgen_study.accuracy.scores import Ids
from loadgen_study.facts.tables import read_journal
from loadgen_study.params import RunParams
from loadgen_study.results.test import Test
from loadgen_study.runs.study import Study
from vllm_loadgen.files import write_json
from vllm_loadgen.records.columns import JOURNAL

# What LoadGen logged of a resumed test: the samples that were left, counted from 0.
PART = "mlperf_log_accuracy_part.json"


def answered_before(run: Study, folder: Path, params: RunParams) -> dict[int, list[int]]:
    """The answers, by sample, in the journals of unfinished tests of this name.

    Args:
        folder: of the test that resumes. params: its own; tests with others are ignored.
    """
    found: dict[int, list[int]] = {}
    for earlier in sorted(folder.parent.glob(f"{folder.name}-unfinished-*")):
        if (earlier / JOURNAL).is_file() and not run.differs(Test.open(earlier), params):
            found |= read_journal(earlier / JOURNAL).answers
    return found


def left_over(answered: Iterable[int], samples: int) -> list[int]:
    """The samples without an answer, ascending; the last one if all have one, since LoadGen needs
    one."""
    return sorted(set(range(samples)) - set(answered)) or [samples - 1]


def join_logs(test: Test, answered: dict[int, list[int]]) -> None:
    """Make LoadGen's log of a resumed test one of all samples; what it wrote is kept next to it.

    Safe to repeat: an interrupt in between leaves both parts.

    Args:
        answered: of ``answered_before``.
    """
    log, part = test.folder / ACCURACY_LOG, test.folder / PART
    if not part.exists():
        log.rename(part)
    issued = np.unique(test.records["sample_index"])
    own = [_entry(int(issued[answer.qsl_idx]), answer.tokens) for answer in read_accuracy_log(part)]
    known = {entry["qsl_idx"] for entry in own}
    earlier = [_entry(index, ids) for index, ids in answered.items() if index not in known]
    write_json(log, [entry | {"seq_id": at} for at, entry in enumerate([*earlier, *own])])


def _entry(sample: int, ids: Ids) -> dict[str, object]:
    data = np.array(ids, f"<i{TOKEN_BYTES}").tobytes().hex().upper()
    return {"seq_id": 0, "qsl_idx": sample, "data": data, "token_count": len(ids)}
