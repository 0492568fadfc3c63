"""Each action that a setting carries out, tried on the echo engine: does it move the figure?"""

import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun
from loadgen_study.findings.collect import findings_of

pytestmark = pytest.mark.quiet
# Of one query: 5 ms to its first token, and 1 ms for each of 20 more. A slot serves 40 a second.
SLOW = {"ttft_ms": 5, "tpot_ms": 1, "output_tokens": 21}


def ttft(test):
    return test.metrics.ttft_ms.mean


def validity(test):
    return test.result.verdict == "VALID"


def over_limit(test):
    return float((test.latencies["tpot_ms"] > test.limits_ms["tpot"]).mean())


# By the finding's id: parameters that bring it about, words of its action, what these change, and
# the figure that must fall by half, or become true. Actions on a batch need steps, which the echo
# engine has not: tests/engines/test_vllm_steps.py.
CASES = {
    "overload": (
        {"target_qps": 80, "concurrency": 1, "engine_options": SLOW},
        "Lower target_qps", {"target_qps": 8, "min_query_count": 24}, ttft,
    ),
    "serial-engine": (
        {"target_qps": 60, "concurrency": 1, "engine_options": SLOW},
        "Raise concurrency above 1", {"concurrency": 8}, ttft,
    ),
    "first-token-queueing": (
        {"target_qps": 80, "engine_options": SLOW | {"slots": 1}},
        "Lower target_qps", {"target_qps": 8, "min_query_count": 24}, ttft,
    ),
    "ttft-limit": (
        {"target_qps": 80, "ttft_limit_ms": 50, "concurrency": 1, "engine_options": SLOW},
        "Lower target_qps", {"target_qps": 4, "min_query_count": 12}, ttft,
    ),
    "tpot-limit": (
        {"tpot_limit_ms": 1, "engine_options": SLOW | {"tpot_ms": 3}},
        "Raise tpot_limit_ms", {"tpot_limit_ms": 30}, over_limit,
    ),
    "early-stopping": (
        {"min_query_count": 12, "target_qps": 400, "min_duration_ms": 1},
        "Raise min_query_count to ", {"min_query_count": 66}, validity,
    ),
}  # fmt: skip


@pytest.fixture
def measured(tmp_path):
    dataset = str(write_articles(tmp_path / "a.jsonl", 12, article="w " * 30, highlights="b {i}"))

    def measure(name, **given):
        params = echo_params(dataset=dataset, outputs=str(tmp_path), run_name=name, **given)
        with LiveRun.start(params) as live:
            return live.perform("performance"), findings_of(live.read())

    return measure


@pytest.mark.parametrize("id", CASES)
def test_an_action_moves_its_figure(measured, id):
    given, words, change, figure = CASES[id]
    before, found = measured("before", **given)
    advice = {one.id: one.action for one in found}
    assert words in advice[id]
    after, found = measured("after", **given | change)
    if figure(after) is True:
        assert not figure(before)
    else:
        assert figure(after) < figure(before) / 2
    assert words not in {one.id: one.action for one in found}.get(id, "")
