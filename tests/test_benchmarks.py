"""The benchmarks measure and assert nothing; here it is tested that they measure what they say."""

import asyncio
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import ROOT

BENCHMARKS = ROOT / "tests" / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def measured(script, *arguments):
    """The last line that a benchmark of a process of its own prints."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.process
@pytest.mark.parametrize("kind", ["Server", "Offline", "journal", "empty"])
def test_one_measurement_of_the_ceiling(kind):
    found = measured("ceiling.py", kind, "1500", "3000")
    assert found["queries"] == 2000  # whole passes of the thousand samples
    assert found["samples_per_s"] > 0
    assert found["p99_ms"] >= 0
    assert found["cpu_us"] > 0


def test_the_open_loop_asks_at_the_due_times_and_counts_from_them():
    import rig

    asked = []

    async def generate(prompt, name):
        asked.append((prompt, name))
        for _ in range(3):
            await asyncio.sleep(0.02)
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=[1])])

    found = asyncio.run(rig.open_loop(generate, ["a", "b"], [1, 0], [0.0, 0.05]))
    assert [prompt for prompt, _ in asked] == ["b", "a"]
    assert found["ttft_ms"] >= 20
    assert found["tpot_ms"] >= 20


def test_the_table_has_each_ratio_with_the_interval_of_its_pairs():
    import bench

    offline = {"tokens_per_s": 99.0, "generate_tokens_per_s": 100.0,
               "longest_first_tokens_per_s": 198.0, "without": {"unloaded": 90.0},
               "warm": {"offline": [True], "generate": [True]}}  # fmt: skip
    server = {"rate": 0.7, "loadgen": {"ttft_ms": 101.0, "tpot_ms": 50.0},
              "open_loop": {"ttft_ms": 100.0, "tpot_ms": 50.0}}  # fmt: skip
    serial = {"samples_per_s": 2.0, "serial_samples_per_s": 0.5, "rate": 0.75,
              "ttft_ms": 300.0, "serial_ttft_ms": 30_000.0}  # fmt: skip
    ratios = {"generate": {"ratio": 0.99, "low": 0.95, "high": 1.03},
              "unloaded": bench.ratio([99.0], [90.0]),
              "longest_first": bench.ratio([198.0], [99.0]),
              "ttft_ms": bench.ratio([101.0], [100.0]), "tpot_ms": bench.ratio([50.0], [50.0]),
              "serial_samples_per_s": bench.ratio([2.0], [0.5]),
              "serial_ttft_ms": bench.ratio([300.0], [30_000.0])}  # fmt: skip
    found = {"offline": offline, "server": server, "serial": serial, "ratios": ratios}
    text = bench.table({"engine": found})
    line = "| Offline, tokens/s, against LLM.generate | 99.0 | 100.0 | 0.99 (0.95 to 1.03) | "
    assert f"{line}higher; 1 is" in text
    assert "libraries preloaded against not | 99.0 | 90.0 | 1.1 | higher |" in text
    assert "each step told" not in text  # a vLLM that cannot
    assert (
        "| Offline, tokens/s, long prompts first against as issued | 198.0 | 99.0 | 2 | higher |"
        in text
    )
    assert "an open loop | 101.0 | 100.0 | 1.01 | lower; 1 is no cost |" in text
    assert "| Capacity, queries/s, against one in flight | 2.00 | 0.50 | 4 | higher |" in text
    assert "| 300 | 30,000 | 0.01 | lower |" in text
    offline["warm"]["generate"] = [False]
    assert "LLM.generate (1 part not warm)" in bench.table({"engine": found})


def test_the_interval_of_a_ratio_is_that_of_its_pairs():
    import bench

    # Each pair is alike, whatever the day: no width at all.
    same = bench.ratio([90.0, 180.0, 45.0], [100.0, 200.0, 50.0])
    assert same["ratio"] == pytest.approx(0.9)
    assert same["low"] == pytest.approx(same["high"])
    # Logarithms 0 and 0.2: mean 0.1, standard error 0.1, t of one degree of freedom 12.706.
    wide = bench.ratio([1.0, math.exp(0.2)], [1.0, 1.0])
    assert wide["ratio"] == pytest.approx(math.exp(0.1))
    assert wide["high"] == pytest.approx(math.exp(0.1 + 1.2706), rel=1e-4)
    assert wide["low"] == pytest.approx(math.exp(0.1 - 1.2706), rel=1e-4)
    assert bench.ratio([1.0], [2.0]) == {"ratio": pytest.approx(0.5), "low": None, "high": None}


def test_a_rig_is_warm_when_all_prompts_are_answered_equally_fast_twice():
    import rig

    from vllm_loadgen.harness.warmup import Round

    asked = []

    def ask(queries):
        asked.append(queries)
        return Round(queries, 10 * queries, 1.0 if len(asked) > 2 else 2.0, 0.0, 0.0)

    assert rig.warmed(ask, 32) is True
    assert asked == [4, 32, 32, 32]


NODE = {"rate": 1300.0, "cpu_us": 60.0, "cpu_us_alone": 20.0, "delay_p99_ms": 0.25,
        "delivered": 0.9999}  # fmt: skip


def test_the_table_says_how_the_harness_does_on_an_engine_that_steps():
    import bench

    what, delay, rate = bench.node_rows(NODE)
    assert what[0].startswith("Server at 1,300 queries/s, an engine that steps: CPU us a query")
    assert what[1:4] == ("60.0", "20.0", "3.00")
    assert (delay[1], rate[1]) == ("0.250", "0.99990")


@pytest.mark.process
@pytest.mark.parametrize("kind", ["loadgen", "alone"])
def test_one_measurement_of_an_engine_that_steps(kind):
    found = measured("stepping.py", kind, "1500", "1000")
    assert found["queries"] == 2000  # whole passes of the thousand samples
    assert found["cpu_us"] > 0
    assert (found.get("delay_p99_ms", -1) >= 0) == (kind == "loadgen")


def test_what_can_be_left_out_is_measured_in_turn_with_the_rest():
    import bench

    asked = []

    def engine(name):
        asked.append(name)
        return {"preloads": True, "tells_steps": False}

    parts = bench.in_turn(engine, 2)
    assert {name: len(found) for name, found in parts.items()} == {
        "offline": 2, "generate": 2, "unloaded": 2
    }  # fmt: skip
    assert asked == ["offline", "generate", "unloaded", "unloaded", "generate", "offline"]


def test_the_table_says_what_growing_curves_cost():
    import bench

    delay, share = bench.curves_rows(CURVES)
    assert "p99 delay of the schedule, ms, curves growing against none" in delay[0]
    assert (delay[1:4], share[1:4]) == (("0.600", "0.500", "1.20"), ("0.030", "0.010", "3.00"))


CURVES = {"curves": {"delay_p99_ms": 0.6, "kernel_share": 0.03},
          "none": {"delay_p99_ms": 0.5, "kernel_share": 0.01}}  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("kind", ["curves", "none"])
def test_one_measurement_of_growing_curves(kind):
    found = measured("curves.py", kind, "2500", "1000")
    assert found["queries"] == 3000  # whole passes of the thousand samples
    assert found["delay_p99_ms"] >= 0
    assert found["kernel_share"] > 0


def test_the_table_says_what_the_journal_costs():
    import bench

    noted = {"rate": 10_000.0, "cpu_us": 22.0, "cpu_us_without": 20.0, "p99_ms": 0.3,
             "p99_ms_without": 0.6}  # fmt: skip
    harness = {"server_queries_per_s": 2.0, "empty_callback_queries_per_s": 4.0, "ratio": 0.5,
               "journal": noted, "by_queries": [], "node": NODE, "curves": CURVES}  # fmt: skip
    text = bench.table({"harness": harness})
    assert "CPU us a query, records on disk meanwhile, against not | 22 | 20 | 1.10 | lower" in text
    assert "p99 latency, ms, records on disk meanwhile, against not | 0.3 | 0.6 | 0.50 |" in text


def test_memory_is_flat_unless_later_queries_take_more():
    import load

    def costs(*bytes_):
        return [
            {"queries": queries, "memory_bytes": memory, "duration_s": 1.0, "cpu_us": 1.0}
            for queries, memory in zip((100, 300, 1000), bytes_, strict=True)
        ]

    flat, growing = costs(90_000, 250_000, 810_000), costs(10_000, 90_000, 1_000_000)
    assert load.added_bytes(flat) == [900, 800, 800]
    assert load.is_flat(flat)
    assert not load.is_flat(growing)
    text = load.table({"Server": growing})
    assert "| Server, 1,000 queries | 1.0 | 1.0 | 1,000 | 1,300 | no |" in text


@pytest.mark.process
def test_the_client_is_measured_on_the_echo_server():
    import client

    with client.serving() as (url, server):
        found = client.own(url, 200, 400.0)
        assert server.is_running()
    assert found["queries"] == 200
    assert found["per_s"] > 0
    assert found["p99_ms"] > 0
    assert found["cpu_us"] > 0


def test_the_clients_table_tells_the_ceilings_and_what_a_query_adds():
    import client

    def step(rate, p99_ms, **more):
        return {"rate": rate, "queries": 10 * rate, "per_s": rate - 0.5, "p99_ms": p99_ms,
                "server_us": 99.0} | more  # fmt: skip

    found = {
        "ours": [step(50, 1.0, cpu_us=700.0), step(100, 6.0, cpu_us=650.0)],
        "vllm bench serve": [step(50, 2.0, cpu_s=10.0), step(100, 4.0, cpu_s=10.5)],
    }
    text = client.table(found)
    assert "| queries/s with p99 under 5 ms | 50 | 100 |" in text
    assert "| CPU us a query | 650 | 1000 |" in text
    assert client.highest([step(50, 9.0)]) == 0


@pytest.mark.process
def test_the_course_of_an_official_size(tmp_path):
    out = tmp_path / "found.json"
    options = ["--samples", "120", "--seconds", "1", "--rate", "120", "--out", str(out)]
    command = [sys.executable, str(BENCHMARKS / "official.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = json.loads(out.read_text())
    assert (found["scored_samples"], found["compliance"]) == (120, {"TEST06": "PASS"})
    assert found["queries"] % 120 == 0
    assert "| TEST06 | PASS |" in done.stdout
    assert any("the echo engine answered" in line for line in found["refusals"])


def test_synthetic_prompts_have_the_official_mean_length(tmp_path):
    import workload

    path = workload.write_prompts(tmp_path / "p.json", 4000, 1000)
    lengths = [len(row["tok_input"]) for row in json.loads(path.read_text())]
    assert sum(lengths) / len(lengths) == pytest.approx(workload.MEAN_TOKENS, rel=0.05)
    assert max(lengths) <= workload.LONGEST
    same = json.loads(workload.write_prompts(tmp_path / "s.json", 5, 1000, 760).read_text())
    assert [len(row["tok_input"]) for row in same] == [760] * 5


@pytest.mark.slow
def test_a_shape_without_weights_is_described(tmp_path):
    import workload

    from loadgen_study.inputs import models

    found = models.describe("x", workload.write_shape("llama3.1-8b", tmp_path), "bfloat16")
    assert found.parameters == pytest.approx(8.03e9, rel=1e-3)
    assert models.prompt_tokenizer(tmp_path, "dummy") is None
