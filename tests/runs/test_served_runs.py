"""Whole runs against a server on the loopback: what is recorded, and what becomes of faults."""

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_server import KEY, FakeServer
from helpers import echo_params, write_articles

from loadgen_study import LiveRun
from loadgen_study.report.report import Report
from loadgen_study.report.sections import configuration
from loadgen_study.rules.verdict import effective_verdict
from vllm_loadgen import EngineError, ParameterError
from vllm_loadgen.harness.messages import Start

pytestmark = pytest.mark.process


@contextmanager
def serving(**server):
    """A fake server in a thread of its own."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    fake = FakeServer(**server)

    async def body():
        async with fake:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(body()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


def asked(tmp_path, *servers, **changes):
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    values = {"engine": "openai", "base_url": [server.url for server in servers],
              "dataset": str(dataset), "outputs": str(tmp_path / "out"), "run_name": "r",
              "max_new_tokens": 8}  # fmt: skip
    return echo_params(**values | changes)


def test_a_run_against_two_replicas(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(key=KEY) as one, serving(key=KEY) as two:
        with LiveRun.start(asked(tmp_path, one, two)) as run:
            test = run.perform("performance")
            run.perform("accuracy")
        shares = [len(server.bodies) for server in (one, two)]
        run.score()
        with LiveRun.start(asked(tmp_path, two, one)) as again:  # the same servers
            assert again.once("performance").result == test.result
    assert min(shares) > 20  # of 82: a light load is spread too
    assert test.result.refused == 0
    assert (test.latencies["output_tokens"] == 8).all()
    assert test.records["started_ns"].isna().all()
    assert test.servers["queries"].sum() == test.result.queries
    assert test.servers["queries"].min() > 10
    read = run.read()
    assert read.engine.route == "vLLM's tokens in, tokens out"
    assert test.result.finish_reasons == {"length": test.result.queries}
    kept = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert KEY.encode() not in kept
    rules = {rule.title: rule for rule in Report(read).rules}
    for name in ("Prefix caching", "Decoding", "Weights", "Engine options"):
        assert rules[name].status == "not checked", name
        assert rules[name].note
    told = configuration.table(read)["effective"]
    assert told["route"] == "vLLM's tokens in, tokens out"
    assert told["served_model"] == "small"


def test_faults_in_mid_run_are_counted_and_the_run_is_not_valid(tmp_path):
    with serving() as fake, LiveRun.start(asked(tmp_path, fake, warmup_queries=0)) as run:
        run.session()  # the probe's answers are not the test's
        fake.faults = [None, 429, None, "cut", "bad id", 500]
        test = run.perform("performance")
    assert test.result.status == "complete"
    assert test.result.refused == 4
    assert len(test.result.refused_because) == 3
    assert effective_verdict(test).status != "VALID"
    (found,) = [one for one in Report(run.read()).findings if "refused" in one.title]
    assert found.evidence.startswith("4 of ")
    assert "status 429: told 429" in found.evidence


def test_a_server_that_wants_a_key_is_one_error(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with (
        serving(key=KEY) as fake,
        LiveRun.start(asked(tmp_path, fake)) as run,
        pytest.raises(EngineError, match=r"status 401.*set OPENAI_API_KEY") as caught,
    ):
        run.perform("performance")
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_holds_one_set_of_servers(tmp_path):
    with serving() as one, serving() as two:
        with LiveRun.start(asked(tmp_path, one)) as run:
            run.perform("performance")
        with pytest.raises(ParameterError, match="tests are of base_url"):
            LiveRun.start(asked(tmp_path, two))


def test_the_key_is_no_part_of_what_a_message_shows():
    assert KEY not in repr(Start(echo_params(), "", Path("engine.log"), key=KEY))
