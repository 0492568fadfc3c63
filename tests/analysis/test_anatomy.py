import numpy as np
import pandas as pd
import pytest
from helpers import MODEL, make_metrics
from hypothesis import given
from hypothesis import strategies as st
from stepped import frames

from loadgen_study.analysis import roofline
from loadgen_study.analysis.anatomy import NoAnatomy, Placed, anatomy, placed, shares
from loadgen_study.analysis.counted_steps import counted_steps
from loadgen_study.facts.inputs import MachineLimits, Model
from loadgen_study.report.sections.anatomy import text
from vllm_loadgen.records.result import ServerCounts

SMALL = Model(**MODEL)
MACHINE = MachineLimits(
    device="cpu", memory_bandwidth_gb_s=30.0, matrix_tflop_s={"bfloat16": 0.05}
)  # fmt: skip
LIMITS = roofline.roofline(SMALL, MACHINE, make_metrics(tpot_ms={"mean": 20.0}), 1.0, 50.0)
# A matrix rate that the imitated steps do not reach.
FAST = roofline.Roofline(**vars(LIMITS) | {"rate_tflop_s": 0.5})
# Two at once, one alone, and nothing between 1 s and 5 s.
ASKED = [(0.0, 40, 4), (0.0, 60, 6), (5.0, 30, 3)]
QUERIES = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=12
).map(sorted)


def parts_of(asked, of=LIMITS, **limits):
    steps, frame = frames(asked, **limits)
    found = placed(steps, frame)
    assert isinstance(found, Placed)
    return anatomy(found, frame, float(frame["done_s"].max()), SMALL, of), steps, found


def test_where_the_time_of_three_queries_went():
    found, steps, _ = parts_of(ASKED)
    # The first two are done after one prefill and 5 decode steps: 5 gaps of 1 ms between them.
    first_s = steps["time_s"].iloc[5]
    assert found.idle_s == pytest.approx(5.0 - first_s)
    assert found.gap_s == pytest.approx(8e-3)  # and one before the first, two after the sixth
    assert found.gaps_known
    assert found.share == pytest.approx(found.least_s / found.whole_s)


def test_the_least_time_of_a_decode_step_is_that_of_its_bytes():
    found, _, _ = parts_of([(0.0, 40, 4)])
    kv = roofline.kv_bytes(SMALL, 1)
    weights = roofline.read_weight_bytes(SMALL)
    # The k-th token after the first looks back on the prompt and k tokens.
    by_hand = [(weights + kv * (40 + k)) / 30e6 for k in (1, 2, 3)]
    assert found.steps["least_ms"].tolist()[1:] == pytest.approx(by_hand)
    assert not found.steps["computing"][1:].any()


def test_the_least_time_of_a_prefill_is_that_of_its_arithmetic():
    found, _, _ = parts_of([(0.0, 1000, 1)])
    by_hand = roofline.prefill_flops(SMALL, 1000) / 0.05e9
    assert found.steps["least_ms"].tolist() == pytest.approx([by_hand])
    assert found.steps["computing"].all()


@given(QUERIES, st.integers(16, 300), st.integers(1, 6))
def test_the_parts_add_up_and_every_token_has_its_step(asked, budget, places):
    found, steps, where = parts_of(asked, budget=budget, places=places)
    parts = found.least_s + found.slow_s + found.gap_s + found.idle_s
    assert parts == pytest.approx(found.whole_s)
    assert min(found.gap_s, found.idle_s) >= -1e-9
    assert (found.steps["least_ms"] > 0).all()
    made = np.zeros(len(steps))
    for query in where.queries.itertuples():
        made[query.first_step + 1 : query.last_step + 1] += 1
        assert steps["time_s"][query.first_step] == pytest.approx(query.first_token_s)
        assert steps["time_s"][query.last_step] == pytest.approx(query.done_s)
    assert made.tolist() == steps["decode_tokens"].tolist()


@given(QUERIES)
def test_without_durations_the_time_between_steps_counts_to_the_second(asked):
    steps, frame = frames(asked)
    found = anatomy(
        placed(steps.assign(duration_ms=np.nan), frame), frame, float(frame["done_s"].max()),
        SMALL, LIMITS,
    )  # fmt: skip
    assert not found.gaps_known
    assert found.gap_s == pytest.approx(0, abs=1e-6)
    parts = found.least_s + found.slow_s + found.gap_s + found.idle_s
    assert parts == pytest.approx(found.whole_s)


def test_a_step_reads_the_experts_of_its_tokens():
    fast = vars(LIMITS) | {"rate_tflop_s": 1e6}
    dense = roofline.Roofline(**fast)
    mixture = roofline.Roofline(**fast | {"experts_ms": 4.0, "expert_share": 0.25})
    steps, frame = frames([(0.0, 1, 2)] * 8)
    found = placed(steps, frame)
    all_read, some = (anatomy(found, frame, 1.0, SMALL, of).steps["least_ms"]
                      for of in (dense, mixture))  # fmt: skip
    assert (all_read - some).tolist()[1] == pytest.approx(4.0 * 0.75**8)


def test_the_shares_are_those_of_the_steps():
    # The second prompt is read while the first query decodes.
    found, steps, _ = parts_of([(0.0, 40, 9), (0.05, 60, 4)], of=FAST)
    of = shares(found, FAST, make_metrics())
    reading = steps["prefill_tokens"] > 0
    took, least = steps["duration_ms"], found.steps["least_ms"]
    assert (of.prefill.steps, of.decode.steps) == (2, len(steps) - 2)
    assert of.decode.share == pytest.approx(least[~reading].sum() / took[~reading].sum())
    assert of.prefill.share == pytest.approx(least[reading].sum() / took[reading].sum())
    assert (of.decode.computing, of.prefill.computing) == (False, True)
    assert of.from_steps
    assert not of.too_low


def test_in_a_batch_the_steps_reach_more_than_the_latencies_say():
    """All at once: a query's TPOT holds the prompts of the others, and its prefill too."""
    asked, budget = [(0.0, 400, 4)] * 8, 800
    found, _, _ = parts_of(asked, of=FAST, budget=budget)
    _, frame = frames(asked, budget=budget)
    means = {name: {"mean": frame[name].mean()} for name in ("tpot_ms", "prefill_ms")}
    by_steps = shares(found, FAST, make_metrics())
    by_latencies = shares(NoAnatomy("none"), FAST, make_metrics(**means))
    assert by_steps.decode.share > 2 * by_latencies.decode.share
    assert not by_latencies.from_steps


def test_a_share_above_the_limit_says_that_the_limit_is_wrong():
    slow = roofline.Roofline(**vars(LIMITS) | {"bandwidth_gb_s": 0.3, "weights_ms": 900.0})
    found = shares(parts_of(ASKED, of=slow)[0], slow, make_metrics())
    assert found.decode.too_low
    assert found.too_low
    assert roofline.say_share(found.decode.share) == "limit measured too low"
    assert roofline.say_share(0.284) == "28 %"


def test_without_decoding_there_is_no_share_of_it():
    found, _, _ = parts_of([(0.0, 40, 1)], of=FAST)
    of = shares(found, FAST, make_metrics())
    assert np.isnan(of.decode.share)
    assert not of.too_low
    assert 0 < of.prefill.share < 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda steps: steps.iloc[:0], "reports no steps"),
        (lambda steps: steps.drop(columns="first_tokens"), "before the tokens of each step"),
        (lambda steps: steps.iloc[1:], "its steps made 1 first tokens, and 3 queries have one"),
        (lambda steps: steps.assign(replica=steps.index % 2), "several engines"),
    ],
)
def test_steps_that_say_too_little_have_no_anatomy(change, reason):
    steps, frame = frames(ASKED)
    found = placed(change(steps), frame)
    assert isinstance(found, NoAnatomy)
    assert reason in found.reason


def test_a_test_without_an_answer_has_none():
    steps, frame = frames(ASKED)
    assert isinstance(placed(steps, frame.assign(done_s=np.nan)), NoAnatomy)
    assert isinstance(placed(pd.DataFrame(), frame.iloc[:0]), NoAnatomy)


# Steps that a server counts -----------------------------------------------------------------------
def counted_of(asked, **changes):
    """What counters would say of imitated steps; and those steps' anatomy."""
    steps, frame = frames(asked)
    found, whole_s = placed(steps, frame), float(frame["done_s"].max())
    assert isinstance(found, Placed)
    counts = ServerCounts(
        prompt_tokens=int(frame["input_tokens"].sum()),
        output_tokens=int(frame["output_tokens"].sum()),
        steps=len(found.steps),
    )
    counts = ServerCounts(**counts.model_dump() | changes)
    counted = counted_steps(counts, frame, whole_s, SMALL, LIMITS)
    return counted, anatomy(found, frame, whole_s, SMALL, LIMITS)


@given(QUERIES)
def test_the_bound_of_counted_steps_is_never_above_that_of_the_steps(asked):
    counted, steps = counted_of(asked)
    assert 0 < counted.least_s <= steps.least_s * (1 + 1e-9)


def test_steps_that_read_the_weights_have_nearly_the_bound_of_the_steps():
    counted, steps = counted_of([(0.0, 4, 100)])
    assert counted.least_s == pytest.approx(steps.least_s, rel=0.05)
    assert counted.tokens == pytest.approx(104 / 100)
    assert f"at least {counted.share * 100:.0f} % of the limit" in text(NoAnatomy("x"), counted)


def test_without_a_count_of_steps_nothing_is_claimed():
    unknown = ({"steps": None}, {"output_tokens": None}, {"prompt_tokens": None},
               {"cached_tokens": 10**6}, {"draft_tokens": 5})  # fmt: skip
    assert [counted_of(ASKED, **changes)[0] for changes in unknown] == [None] * len(unknown)
