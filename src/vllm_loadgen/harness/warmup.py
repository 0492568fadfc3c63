"""The warm-up before the clock starts: rounds of queries until the engine is warm.

An engine's first tests are slower than its later ones: each new batch size touches memory and makes
kernels. So the rounds grow to the batch that the test will reach, and go on until two of them are
equally fast or the time is up.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice

from vllm_loadgen.engines.base import Engine
from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.loadgen import expected_queries
from vllm_loadgen.harness.sut import describe
from vllm_loadgen.params import TestParams
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.records.result import WarmUp, WarmUpRound

# Two rounds that differ by less are equally fast; a cold test is a tenth slower than a warm one.
AGREE_SHARE = 0.05
# Rounds of an engine that answers at once differ by chance.
MOST_ROUNDS = 8
# Answers are cut short: some steps of a batch are enough to warm it.
DECODE_STEPS = 16
# The longest answer in a round without a budget of time, tokens.
LONGEST_ANSWER = 128
# A batch that would grow by less than this factor stays as it is.
WORTH_GROWING = 1.25


@dataclass(frozen=True)
class Round:
    """Queries that were asked at once; means over those that were answered."""

    queries: int
    tokens: int
    duration_s: float
    ttft_s: float
    tpot_s: float

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second."""
        return self.tokens / max(self.duration_s, 1e-9)


def warm_up(
    ask: Callable[[int], Round],
    expected: Callable[[Round], int],
    least: int,
    max_s: float,
    warm_to: int = 0,
) -> WarmUp:
    """Rounds of queries, until the last two of the expected batch are equally fast.

    A round has as many queries as let two rounds of its size end in the time that is left, by what
    a query of the last one took.

    Args:
        ask: asks so many queries at once, and waits for their answers. expected: the batch that
            the test will reach, by the last round.
        least: queries of the first round; 0: no warm-up at all.
        max_s: no round is begun that would end later; 0: only the first.
        warm_to: the batch up to which the engine is known to be warm.
    """
    if not least:
        return WarmUp()
    rounds = [ask(least)]
    batch, steady = expected(rounds[0]), None
    while max_s and batch > warm_to and steady is not True:
        steady = False
        last = rounds[-1]
        left_s = max_s - sum(each.duration_s for each in rounds)
        size = _next_size(last, batch, left_s)
        if len(rounds) == MOST_ROUNDS or size * last.duration_s / last.queries > left_s:
            break
        rounds.append(ask(size))
        batch = max(batch, expected(rounds[-1]))
        steady = _agree(last, rounds[-1]) and batch < WORTH_GROWING * rounds[-1].queries
    recorded = tuple(
        WarmUpRound(
            queries=each.queries,
            tokens=each.tokens,
            duration_s=round(each.duration_s, 3),
            tokens_per_s=round(each.tokens_per_s, 3),
        )
        for each in rounds
    )
    return WarmUp(rounds=recorded, batch=batch, steady=steady)


def _next_size(last: Round, batch: int, left_s: float) -> int:
    """Queries of the next round: the batch, or as many as two rounds have time for."""
    if batch <= last.queries:
        return batch if batch == 1 else last.queries
    if batch < WORTH_GROWING * last.queries:
        return last.queries
    fits = int(left_s / 2 / max(last.duration_s / last.queries, 1e-9))
    return max(last.queries, min(batch, fits))


def _agree(one: Round, other: Round) -> bool:
    rates = one.tokens_per_s, other.tokens_per_s
    return one.queries == other.queries and min(rates) >= (1 - AGREE_SHARE) * max(rates)


def expected_batch(
    params: TestParams, samples: int, mode: str, facts: EngineFacts
) -> Callable[[Round], int]:
    """A function from the last round to the queries that the engine will have at once in the test.

    Offline all that the engine takes; in SingleStream one; in Server the rate times the time that
    a query takes (Little's law, with the longest answers). No more than the test has; 0, for which
    there is no round, if the engine's maximum is unknown.
    """
    most = min(facts.max_num_seqs or 0, params.concurrency or math.inf)

    def expected(seen: Round) -> int:
        if not most:
            return 0
        if params.scenario_traits.one_by_one:
            return 1
        bound = min(most, expected_queries(params, samples, mode))
        if params.scenario_traits.at_once:
            return int(max(bound, seen.queries))
        latency_s = seen.ttft_s + seen.tpot_s * (params.max_new_tokens - 1)
        return int(max(min(bound, math.ceil(params.rate * latency_s)), seen.queries))

    return expected


def pick_prompts(prompts: Sequence[Sequence[int]], count: int) -> list[Sequence[int]]:
    """``count`` prompts, longest and shortest in turn, repeated if there are fewer."""
    by_length = sorted(prompts, key=len)
    ends = chain.from_iterable(zip(reversed(by_length), by_length, strict=True))
    return list(islice(cycle(ends), count))


def reordered(prompts: Sequence[Sequence[int]], turn: int) -> list[Sequence[int]]:
    """The prompts' tokens in an order that differs from turn to turn."""
    backwards = [prompt[::-1] for prompt in map(list, prompts)]
    return [ids[turn % len(ids) :] + ids[: turn % len(ids)] for ids in backwards]


def answer_cap(prompts: Sequence[Sequence[int]], facts: EngineFacts) -> int:
    """The shortest answer, in tokens, that lasts from the first query's start to the last one's.

    A step computes ``max_num_batched_tokens`` of prompts at most, and a token of each answer.
    """
    tokens = sum(map(len, prompts))
    return DECODE_STEPS + math.ceil(tokens / (facts.max_num_batched_tokens or tokens))


class PendingRound:
    """One round, and the sink of its answers.

    Args:
        cap: most tokens of an answer; None: as many as in a test.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], cap: int | None = None) -> None:
        self._prompts, self._cap = prompts, cap
        self._first_s: dict[int, float] = {}
        self._done_s: dict[int, float] = {}
        self._tokens: dict[int, int] = {}
        self._failure: BaseException | None = None

    async def answered(self, engine: Engine) -> Round:
        """Ask all at once and wait for all answers.

        Raises:
            EngineError: if the engine answers none, or dies.
        """
        loop = asyncio.get_running_loop()
        self._answers: list[asyncio.Future[None]] = [loop.create_future() for _ in self._prompts]
        begin = time.monotonic()
        for row, prompt in enumerate(self._prompts):
            engine.submit(row, prompt, self, self._cap)
        problems = await asyncio.gather(*self._answers, return_exceptions=True)
        duration_s = time.monotonic() - begin
        if self._failure is not None:
            raise EngineError(f"the engine died in the warm-up: {describe(self._failure)}")
        # A query that is refused now is refused in the test, and counted there.
        refusals = [problem for problem in problems if problem is not None]
        if len(refusals) == len(problems):
            raise EngineError(f"the warm-up had no answer: {describe(refusals[0])}")
        done = self._done_s
        gaps_s = [(done[row] - self._first_s[row]) / max(self._tokens[row] - 1, 1) for row in done]
        return Round(
            queries=len(self._prompts),
            tokens=sum(self._tokens.values()),
            duration_s=duration_s,
            ttft_s=sum(self._first_s[row] - begin for row in done) / len(done),
            tpot_s=sum(gaps_s) / len(done),
        )

    def moved(self) -> int:
        """A number that rises with each sign of life."""
        return len(self._first_s) + len(self._done_s)

    # The engine's answers (see ``Sink``).
    def first(self, row: int, token: int, started_ns: int | None) -> None:
        self._first_s[row] = time.monotonic()

    def done(self, row: int, rest: Sequence[int]) -> None:
        self._done_s[row] = time.monotonic()
        self._tokens[row] = 1 + len(rest)
        if not self._answers[row].done():  # it may have failed with all others
            self._answers[row].set_result(None)

    def refuse(self, row: int, error: BaseException) -> None:
        self._answers[row].set_exception(error)

    def failed(self, error: BaseException) -> None:
        self._failure = error
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(error)
