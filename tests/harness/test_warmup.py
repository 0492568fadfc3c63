"""The rounds before the clock starts, of engines whose speed is made up."""

import asyncio
from multiprocessing import Pipe

import pytest
from helpers import PROMPTS, echo_params

from loadgen_study.params import RunParams
from vllm_loadgen.engines.echo import EchoEngine
from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.messages import RunTest
from vllm_loadgen.harness.session import Session
from vllm_loadgen.harness.warmup import (
    MOST_ROUNDS,
    PendingRound,
    Round,
    answer_cap,
    expected_batch,
    pick_prompts,
    reordered,
    warm_up,
)
from vllm_loadgen.harness.worker import Worker
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.records.result import Result, WarmUp

VLLM = EngineFacts(engine="vllm", max_num_seqs=64, max_num_batched_tokens=100)


class Imitated:
    """An engine that answers a round in ``seconds(queries, rounds before)``, 20 tokens a query."""

    def __init__(self, seconds):
        self.asked = []
        self._seconds = seconds

    def __call__(self, queries):
        took_s = self._seconds(queries, len(self.asked))
        self.asked.append(queries)
        return Round(queries, 20 * queries, took_s, took_s / 2, took_s / 40)


def offline(batch):
    return lambda seen: batch


def test_no_queries_are_no_warm_up():
    ask = Imitated(lambda queries, before: 1.0)
    assert warm_up(ask, offline(64), 0, 20.0) == WarmUp()
    assert ask.asked == []


def test_two_rounds_of_the_batch_that_are_equally_fast_end_it():
    ask = Imitated(lambda queries, before: 0.5 + queries / 40)
    found = warm_up(ask, offline(64), 4, 20.0)
    assert ask.asked == [4, 64, 64]
    assert found.steady is True
    assert found.batch == 64
    assert [each.tokens_per_s for each in found.rounds[1:]] == [pytest.approx(1280 / 2.1)] * 2


def test_an_engine_that_gets_faster_is_asked_on():
    slower = {1: 1.3, 2: 1.1}
    ask = Imitated(lambda queries, before: (0.2 + queries / 40) * slower.get(before, 1.0))
    found = warm_up(ask, offline(64), 4, 30.0)
    assert ask.asked == [4, 64, 64, 64, 64]
    assert found.steady is True


def test_the_bound_of_time_is_kept_and_what_did_not_fit_is_told():
    # A query costs a second however many there are: two rounds of ten fit into what is left of 24.
    ask = Imitated(lambda queries, before: float(queries))
    found = warm_up(ask, offline(64), 4, 24.0)
    assert ask.asked == [4, 10, 10]
    assert found.batch == 64
    assert found.steady is False
    # Not even two of the first round.
    ask = Imitated(lambda queries, before: 15.0)
    assert warm_up(ask, offline(64), 4, 20.0).steady is False
    assert ask.asked == [4]
    assert warm_up(ask, offline(64), 4, 0.0).steady is None


def test_rounds_that_never_agree_end():
    ask = Imitated(lambda queries, before: 0.01 * (1 + before % 2))
    found = warm_up(ask, offline(8), 4, 20.0)
    assert len(found.rounds) == MOST_ROUNDS
    assert found.steady is False


def test_what_is_warm_is_asked_no_more_than_the_least():
    ask = Imitated(lambda queries, before: 1.0)
    assert warm_up(ask, offline(64), 4, 20.0, warm_to=64).steady is None
    assert ask.asked == [4]
    assert warm_up(ask, offline(64), 4, 20.0, warm_to=32).steady is True


def test_the_batch_of_a_server_test_is_its_rate_times_its_latency():
    params = RunParams(target_qps=4.0, max_new_tokens=129, warmup_queries=4)
    expected = expected_batch(params, 16, "performance", VLLM)
    # 0.5 s to the first token and 128 of 10 ms: 4 x 1.78 are 7.12 at once.
    assert expected(Round(4, 80, 1.0, 0.5, 0.010)) == 8
    assert expected(Round(4, 80, 1.0, 0.0, 0.001)) == 4  # never less than was asked
    assert expected(Round(4, 80, 1.0, 90.0, 0.01)) == 64  # never more than the engine takes
    # More at once take longer, so that the batch is larger than the first round showed.
    ask = Imitated(lambda queries, before: 0.2 + 0.05 * queries)
    found = warm_up(ask, expected, 4, 60.0)
    assert ask.asked == [4, 6, 8, 8]
    assert found.steady is True


@pytest.mark.parametrize(
    ("changes", "batch"),
    [
        ({}, 48),  # the queries of the test
        ({"min_query_count": 1000}, 64),  # the engine's largest
        ({"min_query_count": 1000, "concurrency": 10}, 10),
        ({"scenario": "SingleStream"}, 1),
    ],
)
def test_the_batch_of_other_scenarios(changes, batch):
    given = {"scenario": "Offline", "min_query_count": 48, "min_duration_ms": 1, **changes}
    expected = expected_batch(RunParams(**given), 16, "performance", VLLM)
    assert expected(Round(4, 80, 1.0, 0.5, 0.01)) == batch
    # What an engine does not tell is not guessed.
    assert expected_batch(RunParams(**given), 16, "performance", EngineFacts(engine="x"))(
        Round(4, 80, 1.0, 0.5, 0.01)
    ) == 0  # fmt: skip


def test_single_stream_is_warmed_one_at_a_time():
    ask = Imitated(lambda queries, before: 1.0)
    assert warm_up(ask, offline(1), 4, 20.0).steady is True
    assert ask.asked == [4, 1, 1]


def test_longest_and_shortest_prompts_come_first_and_again():
    prompts = [[0] * length for length in (3, 1, 2)]
    assert [len(prompt) for prompt in pick_prompts(prompts, 7)] == [3, 1, 2, 2, 1, 3, 3]
    assert pick_prompts(prompts, 0) == []


def test_answers_are_long_enough_for_all_prompts_to_come_in():
    # 250 tokens of prompts are three steps of 100.
    assert answer_cap([[0] * 125] * 2, VLLM) == 16 + 3
    assert answer_cap([[0] * 125] * 2, EngineFacts(engine="x")) == 16 + 1


def asked(engine, prompts, most=None):
    async def ask():
        await engine.start()
        return await PendingRound(prompts, most).answered(engine)

    return asyncio.run(ask())


def test_a_round_counts_tokens_and_times():
    found = asked(EchoEngine(32, ttft_ms=20, tpot_ms=1), PROMPTS[:4], 11)
    assert (found.queries, found.tokens) == (4, 44)
    assert found.duration_s >= found.ttft_s + 10 * found.tpot_s - 1e-6
    assert found.ttft_s >= 0.02
    assert found.tpot_s >= 0.001


def test_a_query_that_is_refused_is_passed_over_and_all_are_an_error():
    assert asked(EchoEngine(32, refuse_at=1), PROMPTS[:4]).tokens == 3 * 32
    with pytest.raises(EngineError, match="the warm-up had no answer: ValueError"):
        asked(EchoEngine(32, refuse_at=0), PROMPTS[:1])


@pytest.mark.parametrize("fail_at", [0, 3])
def test_an_engine_that_dies_is_no_refusal(fail_at):
    with pytest.raises(EngineError, match="the engine died in the warm-up: RuntimeError"):
        asked(EchoEngine(32, ttft_ms=1, slots=1, fail_at=fail_at), PROMPTS[:4])


@pytest.mark.process
def test_a_test_keeps_the_rounds_of_its_warm_up_and_what_it_warmed_is_warm(tmp_path):
    params = echo_params(
        scenario="Offline", target_qps=1000.0, engine_options={"ttft_ms": 5.0, "slots": 8}
    )
    with Session(params, "", tmp_path / "engine.log") as session:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            session.run(params, PROMPTS, "performance", tmp_path / name)
    result = Result.read(tmp_path / "first" / "result.json")
    rounds = result.warmup.rounds
    assert result.warmup.batch == 8
    assert [each.queries for each in rounds[:3]] == [4, 8, 8]
    assert result.warmup_queries == sum(each.queries for each in rounds)
    assert result.warmup.steady is not None
    second = Result.read(tmp_path / "second" / "result.json")
    assert [each.queries for each in second.warmup.rounds] == [4]
    assert second.warmup.steady is None


@pytest.mark.process
def test_an_accuracy_test_asks_for_no_speed(tmp_path):
    params = echo_params(engine_options={"ttft_ms": 5.0, "slots": 8})
    with Session(params, "", tmp_path / "engine.log") as session:
        session.run(params, PROMPTS, "accuracy", tmp_path)
    warmup = Result.read(tmp_path / "result.json").warmup
    assert [each.queries for each in warmup.rounds] == [4]
    assert warmup.steady is None


@pytest.mark.process
def test_a_warm_up_that_gets_on_is_not_taken_for_dead(tmp_path):
    # Eight answers in turn take longer than the limit, each of them less.
    options = {"ttft_ms": 400.0, "slots": 1}
    params = echo_params(
        engine_options=options, stall_timeout_s=1, warmup_queries=8, warmup_max_s=0,
        scenario="Offline", min_query_count=1, min_duration_ms=1, target_qps=1.0,
    )  # fmt: skip
    with Session(params, "", tmp_path / "engine.log") as session:
        session.run(params, PROMPTS[:1], "performance", tmp_path)
    assert Result.read(tmp_path / "result.json").warmup_queries == 8


@pytest.mark.parametrize("mode", ["performance", "accuracy"])
@pytest.mark.parametrize("max_s", [0.0, 20.0])
def test_a_warm_up_asks_for_no_answers_of_20000_tokens(tmp_path, mode, max_s):
    asked = []

    class Noted(EchoEngine):
        def submit(self, row, prompt, sink, most_tokens=None):
            asked.append(most_tokens)
            return super().submit(row, prompt, sink, most_tokens)

    params = echo_params(max_new_tokens=20_000, warmup_max_s=max_s)
    worker = Worker(Pipe()[1])
    worker._engine = Noted(20_000)
    worker._facts = EngineFacts(engine="echo", max_num_seqs=8, max_num_batched_tokens=8192)
    worker._warm_up(RunTest(params, Prompts.of([[1, 2, 3]] * 8), mode, tmp_path))
    worker.close()
    assert max(asked) <= 128


def test_a_batch_is_no_larger_than_the_test_has_queries():
    given = {"target_qps": 1.0, "min_query_count": 16, "min_duration_ms": 1000}
    params = RunParams(max_new_tokens=20_000, **given)
    expected = expected_batch(params, 16, "performance", VLLM)
    assert expected(Round(4, 80, 1.0, 0.5, 0.01)) == 16


def test_a_cache_does_not_know_the_prompts_of_the_warm_up():
    prompts = [[1, 2, 3], (4, 5)]
    first, second = reordered(prompts, 1), reordered(prompts, 2)
    assert (first, second) == ([[2, 1, 3], [4, 5]], [[1, 3, 2], [5, 4]])
    assert [sorted(ids) for ids in first] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("caching", [True, False, None])
def test_a_warm_up_leaves_the_tests_prompts_out_of_a_cache(tmp_path, caching):
    seen = []

    class Noted(EchoEngine):
        def submit(self, row, prompt, sink, most_tokens=None):
            seen.append(list(prompt))
            return super().submit(row, prompt, sink, most_tokens)

    params, prompts = echo_params(), [[1, 2, 3], [4, 5, 6]]
    worker = Worker(Pipe()[1])
    worker._engine = Noted(4)
    worker._facts = EngineFacts(engine="echo", prefix_caching=caching)
    worker._warm_up(RunTest(params, Prompts.of(prompts), "accuracy", tmp_path))
    worker.close()
    assert seen
    assert all((prompt in prompts) != bool(caching) for prompt in seen)
