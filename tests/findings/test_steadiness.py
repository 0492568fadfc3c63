"""Whether the engine was warm, kept its pace and its options, and a test reached its plateau."""

import pandas as pd
import pytest
from helpers import RESULT, imitated, imitated_run, make_records

from loadgen_study.findings.collect import find, given_by
from vllm_loadgen.records.engine import EngineFacts

OFFLINE = RESULT | {"scenario": "Offline"}


def found(test, engine=None):
    own = ("clock-step", "late-kernels", "cold-engine", "shifted-pace", "no-steady-state",
           "ramp-and-drain", "changed-options")  # fmt: skip
    findings = find(given_by(imitated_run(test, engine=engine)))
    return {finding.title: finding for finding in findings if finding.id in own}


def offline(queries=240, batch=4, seconds=lambda wave: 10.0, **result):
    """Waves of a batch, each answered in so many seconds, 10 tokens a query."""
    rows, steps, now_s = [], [(0.0, batch, queries - batch)], 0.0
    for wave in range(queries // batch):
        took_s = seconds(wave)
        for _ in range(batch):
            rows.append((0, 0, now_s, now_s + took_s / 10, now_s + took_s, 9, 10))
        now_s += took_s
        left = queries - (wave + 1) * batch
        steps.append((now_s, min(left, batch), max(0, left - batch)))
    frame = pd.DataFrame(steps, columns=["time_s", "running", "waiting"])
    frame = frame.assign(preempted=0, kv_cache_share=1.0)
    return imitated(make_records(rows), OFFLINE | result, engine_steps=frame)


def test_a_test_at_one_pace_finds_nothing():
    assert found(offline()) == {}


def test_a_clock_that_was_set_is_a_doubt_and_one_that_was_slewed_is_none():
    title = "System clock set during the test"
    doubt = found(offline(clock_step_ms=-250.0))[title]
    assert doubt.doubts
    assert doubt.evidence.startswith("-250 ms")
    # Of RESULT's minute, 500 ppm are 30 ms.
    assert title not in found(offline(clock_step_ms=30.0))


@pytest.mark.parametrize(
    ("seconds", "title"),
    [
        (lambda wave: 12.0 if wave < 20 else 10.0, "Slow start of the test"),
        (lambda wave: 12.0 if wave > 40 else 10.0, "Slowdown during the test"),
    ],
)
def test_a_change_of_pace_is_named_by_its_direction(seconds, title):
    test = offline(seconds=seconds)
    assert title in found(test)
    thirds = test.steady.thirds
    assert f"the last {thirds[1]:,.1f}" in found(test)[title].evidence


def test_one_batch_has_no_steady_state_and_that_is_said_where_steps_are_known():
    title = "No steady state"
    assert "min_query_count" in found(offline(queries=4))[title].action
    without = imitated(make_records([(0, 0, 0, 1, 2, 9, 5)]), OFFLINE)
    assert title not in found(without)
    # In Server the length of the batch is the arrivals' affair.
    assert title not in found(imitated(make_records([(0, 0, 0, 1, 2, 9, 5)]), RESULT))


def test_a_long_drain_is_told_with_both_rates():
    # One of the last batch has ten times the tokens, and the others are long gone.
    rows = [(0, 0, 10 * (i // 4), 10 * (i // 4) + 1, 10 * (i // 4) + 10, 9, 10) for i in range(40)]
    rows[-1] = (0, 0, 90, 91, 190, 9, 100)
    steps = [(10 * w, 4, 36 - 4 * w) for w in range(10)] + [(100, 1, 0), (190, 0, 0)]
    frame = pd.DataFrame(steps, columns=["time_s", "running", "waiting"])
    frame = frame.assign(preempted=0, kv_cache_share=1.0)
    test = imitated(make_records(rows), OFFLINE, engine_steps=frame)
    told = found(test)["Ramp and drain lower the rate"]
    assert "2.6 tokens/s over the whole test, 4.0 in its steady state" in told.evidence


def test_a_warm_up_that_was_cut_short_is_told():
    rounds = [{"queries": 4, "tokens": 64, "duration_s": 2.0, "tokens_per_s": 32.0},
              {"queries": 16, "tokens": 256, "duration_s": 5.0, "tokens_per_s": 51.2}]  # fmt: skip
    title = "Warm-up cut short"
    cold = offline(warmup={"rounds": rounds, "batch": 64, "steady": False})
    assert "32.0 with 4, 51.2 with 16; the expected batch is 64" in (found(cold)[title].evidence)
    for steady in (True, None):
        assert found(offline(warmup={"rounds": rounds, "batch": 16, "steady": steady})) == {}


def test_kernels_made_during_the_test_are_a_problem():
    line = "Triton kernel JIT compilation during inference: _fwd."
    (told,) = found(offline(unprepared=[line])).values()
    assert told.severity == "problem"
    assert line in told.evidence


def test_an_option_that_became_another_is_named():
    given = {"async_scheduling": True, "dtype": "auto", "max_num_seqs": 16, "lora": "x"}
    made = {"async_scheduling": False, "dtype": "float32", "max_num_seqs": 16}
    engine = EngineFacts(engine="vllm", options=given, made=made)
    (told,) = found(offline(), engine).values()
    assert told.evidence == "async_scheduling = True became False"
    # What an older engine.json does not tell is not taken for ignored.
    assert found(offline(), EngineFacts(engine="vllm", options=given)) == {}
