import pandas as pd
import pytest

from loadgen_study.analysis.replicas import loads, servers, slower_server, straggler, together


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
    assert found.prompts_share == 1.0
    assert straggler(late, 100.0) is None  # 7 s are no tenth of it


def test_one_with_a_queue_when_the_others_have_none_is_the_straggler():
    queue = loads(steps((1.0, 0, 4, 8, 0, 9, 0, 1), (9.0, 0, 4, 0, 0, 0, 9, 0),
                        (1.0, 1, 4, 1, 0, 9, 0, 1), (9.0, 1, 0, 0, 0, 0, 9, 0)))  # fmt: skip
    found = straggler(queue, 10.0)
    assert (found.replica, found.late_s) == (0, 0.0)
    assert found.waiting == pytest.approx(8 * 8 / 9)
    both = queue.assign(mean_waiting=[8.0, 5.0])
    assert straggler(both, 10.0) is None


def asked(*tpot_ms, each=20):
    """``each`` queries of each server, with these mean TPOT."""
    rows = [
        {"replica": number, "input_tokens": 10, "output_tokens": 5, "ttft_ms": 100.0,
         "tpot_ms": mean_ms + place % 5}
        for number, mean_ms in enumerate(tpot_ms) for place in range(each)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_what_each_server_was_asked_for():
    frame = asked(10.0, 20.0)
    frame.loc[0, ["output_tokens", "tpot_ms"]] = 0, float("nan")
    found = servers(frame)
    assert found["queries"].tolist() == [20, 20]
    assert found["unanswered"].tolist() == [1, 0]
    assert found["output_tokens"].tolist() == [95, 100]
    assert found["tpot_mean_ms"].tolist() == pytest.approx([232 / 19 - 0, 22.0], rel=0.01)
    assert servers(frame.drop(columns="replica")).empty


def test_a_server_is_slower_beyond_chance_or_is_not_named():
    assert slower_server(asked(10.0, 10.0, 20.0)) == 2
    assert slower_server(asked(10.0, 11.0)) is None  # by less than a fifth
    assert slower_server(asked(10.0, 20.0, each=2)) is None  # by chance of a sixth
    assert slower_server(asked(10.0)) is None
    assert slower_server(asked(10.0, 20.0).drop(columns="replica")) is None
