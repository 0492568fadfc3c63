"""Sampled answers: each query's own seed, in the parameters, the echo engine and over HTTP."""

import asyncio

import pytest
from fake_server import FakeServer
from helpers import PROMPTS, echo_params

from loadgen_study.accuracy.log import ACCURACY_LOG, read_accuracy_log
from vllm_loadgen.errors import ParameterError
from vllm_loadgen.harness.session import Session
from vllm_loadgen.http.openai import OpenAIEngine
from vllm_loadgen.http.routes import CHAT_ROUTE, ROUTES
from vllm_loadgen.sampling import GREEDY, Sampling

WARM = Sampling(temperature=1.0, top_p=0.9, top_k=20, seed=42)
SAMPLED = {"temperature": 1.0, "top_p": 0.9, "top_k": 20}


def test_a_querys_seed_is_its_own_and_the_same_at_each_run() -> None:
    seeds = [WARM.seed_of(row) for row in range(1000)]
    assert seeds == [WARM.seed_of(row) for row in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not {*seeds} & {Sampling(temperature=1.0, seed=43).seed_of(row) for row in range(1000)}
    assert GREEDY.seed_of(0) is Sampling(seed=42).seed_of(0) is Sampling(1.0).seed_of(0) is None


def test_a_reader_is_told_what_differs_from_a_plain_draw() -> None:
    assert str(GREEDY) == "greedy"
    assert str(Sampling(temperature=1.0)) == "sampled at temperature 1"
    assert str(WARM) == "sampled at temperature 1, top_p 0.9, top_k 20"


@pytest.mark.parametrize("name", ["top_p", "top_k"])
def test_what_greedy_decoding_ignores_is_refused(name: str) -> None:
    given = {name: SAMPLED[name]}
    with pytest.raises(ParameterError, match=f"{name} = .* has no effect with temperature 0"):
        echo_params(**given)
    assert echo_params(temperature=0.5, **given).sampling.temperature == 0.5


def test_a_greedy_query_says_no_more_than_its_temperature() -> None:
    for route in (*ROUTES, CHAT_ROUTE):
        assert route.options(8, 1, GREEDY, 3) == route.options(8, 1)
        assert not route.options(8, 1).keys() & {"top_p", "top_k", "seed"}
        assert route.options(8, 1)["temperature"] == 0


@pytest.mark.parametrize("route", [*ROUTES, CHAT_ROUTE], ids=lambda route: route.name)
def test_a_sampled_query_says_all_of_it(route) -> None:
    asked = route.options(8, 1, WARM, 3)
    assert asked.items() >= {**SAMPLED, "seed": WARM.seed_of(3)}.items()
    # OpenAI's own options have no top_k; a server of vLLM's kind may have one of its own.
    everything = route.options(8, 1, Sampling(temperature=1.0), 3)
    assert everything.get("top_k") == (-1 if route.extra else None)
    assert "seed" not in everything


def logged(session: Session, folder, **changes: object) -> dict[int, list[int]]:
    """The answers of an accuracy test, by sample; each prompt is there twice."""
    session.run(echo_params(**changes), PROMPTS * 2, "accuracy", folder)
    return {one.qsl_idx: list(one.tokens) for one in read_accuracy_log(folder / ACCURACY_LOG)}


@pytest.mark.process
def test_echoed_answers_are_repeatable_and_repeats_differ(tmp_path) -> None:
    found = {}
    for name, seed in (("one", 42), ("again", 42), ("other", 43)):
        params = echo_params(temperature=2.0, sampling_seed=seed)
        with Session(params, "", tmp_path / f"{name}.log") as session:
            found[name] = logged(session, tmp_path / name, temperature=2.0, sampling_seed=seed)
    assert found["one"] == found["again"]
    count = len(PROMPTS)
    assert all(found["one"][at] != found["one"][at + count] for at in range(count))
    assert all(found["one"][at] != found["other"][at] for at in range(count))
    assert all(found["one"][at][0] == prompt[0] for at, prompt in enumerate(PROMPTS))


class Sink:
    """Counts the queries that have ended."""

    def __init__(self, queries: int) -> None:
        self.left, self.over = queries, asyncio.Event()

    def first(self, row, token, started_ns) -> None:
        pass

    def done(self, row, rest) -> None:
        self.left -= 1
        if not self.left:
            self.over.set()

    def refuse(self, row, error) -> None:
        raise AssertionError(error)

    failed = refuse


def test_a_server_is_sent_each_querys_seed(monkeypatch) -> None:
    monkeypatch.setattr("vllm_loadgen.http.openai.vocab_size", lambda *_: 1000)

    async def bodies() -> list[dict[str, object]]:
        async with FakeServer() as fake:
            params = echo_params(engine="openai", base_url=[fake.url], sampling_seed=7, **SAMPLED)
            engine, sink = OpenAIEngine(params, "", ""), Sink(3)
            await engine.start()
            for row in range(3):
                engine.submit(row, PROMPTS[row], sink)
            await asyncio.wait_for(sink.over.wait(), 60)
            await engine.stop()
            return [body["sampling_params"] for body in fake.bodies]

    *probes, one, two, three = asyncio.run(bodies())
    sampling = Sampling(**SAMPLED, seed=7)
    assert [one["seed"], two["seed"], three["seed"]] == [sampling.seed_of(row) for row in range(3)]
    for asked in (*probes[:1], one, two, three):  # the route is tried as it will be used
        assert asked.items() >= SAMPLED.items()
