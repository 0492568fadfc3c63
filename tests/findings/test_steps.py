"""Findings of the engine's steps, on an imitated engine whose cause of slowness is known."""

import pytest
from helpers import RESULT, imitated, imitated_run
from stepped import stepped

from loadgen_study.findings.collect import find, given_by
from vllm_loadgen.records.engine import EngineFacts

ENGINE = EngineFacts(engine="vllm", max_num_seqs=32, max_num_batched_tokens=8192)
# While a long prompt is read for a second eight more come, which are all read in the next step.
BURSTS = [
    query
    for burst in range(10)
    for query in [(30.0 * burst, 2000, 1), *[(30.0 * burst + 0.1 * (i + 1), 600, 1)
                                             for i in range(8)]]
]  # fmt: skip
# Some ten queries are decoded at once, and every 2 s a long prompt comes.
DECODING = sorted(
    [(i / 4, 20, 60) for i in range(80)] + [(1.0 + 2 * i, 1500, 60) for i in range(10)]
)
# A batch of 4 for bursts of 8 queries.
CROWD = [(20.0 * burst + i / 1e3, 20, 40) for burst in range(10) for i in range(8)]


def findings(asked, engine=ENGINE, result=RESULT, change=lambda steps: steps, **limits):
    steps, records = stepped(asked, **limits)
    test = imitated(records, result, engine_steps=change(steps))
    own = ("later-prompts", "no-place", "other-prompts")
    found = find(given_by(imitated_run(test, engine=engine)))
    return [one for one in found if one.id in own]


def of_title(found, title):
    return [finding for finding in found if title in finding.title]


def tail_of(asked, name, budget):
    """The 90th percentile of "ttft" or "tpot", ms, with so many tokens a step."""
    test = imitated(stepped(asked, budget=budget)[1])
    return getattr(test.metrics, f"{name}_ms").p90


def test_first_tokens_that_waited_for_later_prompts():
    (found,) = of_title(findings(BURSTS), "later prompts")
    assert (
        "the slowest tenth came out of steps of 4,800 tokens that took 2,420 ms" in found.evidence
    )
    assert "4,200 of them of prompts of queries that were issued later" in found.evidence
    assert found.action.startswith("Cap max_num_batched_tokens near 2,048")
    assert tail_of(BURSTS, "ttft", 2048) < 0.9 * tail_of(BURSTS, "ttft", 8192)


def test_of_prompts_that_came_at_once_the_last_is_as_late_in_any_order():
    at_once = [(30.0 * burst, 600, 2) for burst in range(10) for _ in range(8)]
    assert not findings(at_once)
    assert tail_of(at_once, "ttft", 2048) >= tail_of(at_once, "ttft", 8192)


def test_answers_held_up_by_prompts():
    (found,) = of_title(findings(DECODING), "other queries' prompts")
    assert "beyond the 25.5 ms of a step that decodes alone" in found.evidence
    assert found.action.startswith("Lower target_qps")
    usual = tail_of(DECODING, "tpot", 8192)
    assert tail_of([(2 * at_s, *rest) for at_s, *rest in DECODING], "tpot", 8192) < 0.9 * usual
    assert tail_of(DECODING, "tpot", 512) > 0.9 * usual


def test_first_tokens_that_waited_for_a_place():
    engine = ENGINE.model_copy(update={"max_num_seqs": 4})
    (found,) = findings(CROWD, engine, places=4)
    assert "all 4 places were taken" in found.evidence
    assert found.action == "Raise max_num_seqs above 4."
    assert not findings(CROWD, engine, places=4, change=lambda s: s.assign(kv_cache_share=0.99))


@pytest.mark.parametrize(
    "asked",
    [
        BURSTS[:54],  # too few to say of a tenth
        [(10.0 * i, 500, 20) for i in range(70)],  # each alone
    ],
)
def test_nothing_is_said_without_a_cause(asked):
    assert not findings(asked)


def test_nothing_is_said_where_it_cannot_be_told_or_helped():
    assert not findings(BURSTS, change=lambda steps: steps.drop(columns="first_tokens"))
    assert not findings(BURSTS, result=RESULT | {"scenario": "Offline"})
    assert not findings(BURSTS, engine=None)
    assert not findings(BURSTS, ENGINE.model_copy(update={"chunked_prefill": False}))
    assert not findings(BURSTS, ENGINE.model_copy(update={"max_num_batched_tokens": 2048}))
