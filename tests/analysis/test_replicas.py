import pandas as pd
import pytest

from vllm_loadgen.analysis.replicas import loads, straggler, together


def steps(*rows):
    """(time_s, replica, running, waiting, kv_cache_share, prefill, decode, first) each."""
    names = ["time_s", "replica", "running", "waiting", "kv_cache_share", "prefill_tokens",
             "decode_tokens", "first_tokens"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


TWO = steps(
    (1.0, 0, 2, 1, 0.1, 100, 0, 2),
    (2.0, 1, 4, 0, 0.3, 200, 0, 4),
    (3.0, 0, 0, 0, 0.0, 0, 2, 0),
    (4.0, 1, 1, 0, 0.2, 0, 4, 0),
)


def test_what_each_said_last_is_added_up():
    whole = together(TWO)
    assert whole["running"].tolist() == [2, 6, 4, 1]
    assert whole["waiting"].tolist() == [1, 1, 0, 0]
    assert whole["kv_cache_share"].tolist() == [0.1, 0.3, 0.3, 0.2]
    assert whole["time_s"].tolist() == TWO["time_s"].tolist()


@pytest.mark.parametrize("one", [TWO[TWO["replica"] == 0], TWO.drop(columns="replica"),
                                 pd.DataFrame()])  # fmt: skip
def test_one_engine_stays_as_it_is(one):
    assert together(one) is one
    assert loads(one).empty
    assert straggler(loads(one), 10.0) is None


def test_what_each_had_to_do():
    found = loads(TWO)
    assert found["queries"].tolist() == [2, 4]
    assert found["input_tokens"].tolist() == [100, 200]
    assert found["output_tokens"].tolist() == [4, 8]
    # Replica 0 had a queue of 1 from 1 to 3 s, of 4.
    assert found["mean_waiting"].tolist() == [0.5, 0.0]
    assert found["mean_running"].tolist() == pytest.approx([2 * 2 / 4, 4 * 2 / 4])
    assert found["end_s"].tolist() == [3.0, 4.0]


def test_one_that_works_after_all_others_is_the_straggler():
    late = loads(steps((1.0, 0, 1, 0, 0, 9, 0, 1), (2.0, 0, 0, 0, 0, 0, 9, 0),
                       (1.0, 1, 1, 0, 0, 9, 0, 1), (9.0, 1, 0, 0, 0, 0, 19, 0)))  # fmt: skip
    found = straggler(late, 10.0)
    assert (found.replica, found.late_s, found.tokens_share) == (1, 7.0, 2.0)
    assert straggler(late, 100.0) is None  # 7 s are no tenth of it


def test_one_with_a_queue_when_the_others_have_none_is_the_straggler():
    queue = loads(steps((1.0, 0, 4, 8, 0, 9, 0, 1), (9.0, 0, 4, 0, 0, 0, 9, 0),
                        (1.0, 1, 4, 1, 0, 9, 0, 1), (9.0, 1, 0, 0, 0, 0, 9, 0)))  # fmt: skip
    found = straggler(queue, 10.0)
    assert (found.replica, found.late_s) == (0, 0.0)
    assert found.waiting == pytest.approx(8 * 8 / 9)
    both = queue.assign(mean_waiting=[8.0, 5.0])
    assert straggler(both, 10.0) is None
