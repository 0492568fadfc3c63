"""Answers that the engine is given and tells the likelihood of."""

import asyncio
from multiprocessing import Pipe

import pytest
from helpers import PROMPTS, echo_params

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.engines.echo import EchoEngine
from vllm_loadgen.harness.messages import Progress, Scored, ScoreTokens
from vllm_loadgen.harness.worker import SCORED_AT_ONCE, Worker, score_all
from vllm_loadgen.records.engine import TokenScores


class Known(EchoEngine):
    """Tells the log-probability -1 of the prompt's first token and -2 of all others."""

    def __init__(self, refuse: int = -1) -> None:
        super().__init__(4)
        self._refuse = refuse
        self.at_work = 0

    async def score(self, prompt, answer):
        self.at_work += 1
        await asyncio.sleep(0)
        self.at_work -= 1
        if self._refuse == answer[0]:
            raise ValueError("too long")
        logprobs = [-1.0 if token == prompt[0] else -2.0 for token in answer]
        return TokenScores(logprobs=logprobs, chosen=[one == -1 for one in logprobs])


def carried_out(engine: Engine, command: ScoreTokens):
    """What the worker answers, and the progress that it sent before."""
    ours, theirs = Pipe()
    worker = Worker(theirs)
    worker._engine = engine
    answer = worker._carry_out(command)
    progress = []
    while ours.poll():
        progress.append(ours.recv())
    worker._loop.call_soon_threadsafe(worker._loop.stop)
    return answer, progress


def test_answers_are_scored_in_their_order_some_at_a_time():
    number = SCORED_AT_ONCE + 3
    prompts = [[at, 7] for at in range(number)]
    answers = [[at, 99] for at in range(number)]
    scored, progress = carried_out(Known(), ScoreTokens(prompts, answers, 60))
    assert scored.problem == ""
    assert [one.chosen for one in scored.answers] == [(True, False)] * number
    assert progress == [Progress(number, SCORED_AT_ONCE, 2 * SCORED_AT_ONCE),
                        Progress(number, number, 2 * number)]  # fmt: skip


def test_no_more_is_asked_for_than_there_is_time_for():
    class Slow(Known):
        async def score(self, prompt, answer):
            await asyncio.sleep(0.2)
            return await super().score(prompt, answer)

    number = 100
    command = ScoreTokens([[1]] * number, [[1]] * number, 60, most_s=0.1)
    scored, _ = carried_out(Slow(), command)
    assert scored.problem == ""
    assert len(scored.answers) == SCORED_AT_ONCE


def test_a_refusal_is_told_after_all_have_ended_and_the_engine_stays():
    engine = Known(refuse=0)
    scored, _ = carried_out(engine, ScoreTokens([[1], [2]], [[0], [1]], 60))
    assert scored == Scored([], "the engine refused: too long")
    assert engine.at_work == 0


def test_an_engine_that_does_not_tell():
    assert asyncio.run(score_all(EchoEngine(4), [([1], [2])])) == []


@pytest.mark.process
def test_a_session_goes_on_after_an_engine_did_not_tell(echo, tmp_path):
    told = echo.score(PROMPTS, PROMPTS, 60.0)
    assert told.problem == "this engine does not tell how likely a token is"
    assert echo.alive
    echo.run(echo_params(min_query_count=4), PROMPTS, "performance", tmp_path)
