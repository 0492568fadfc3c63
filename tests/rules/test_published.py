import pytest

from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.params import RunParams
from loadgen_study.rules import published
from loadgen_study.rules.rule import Rule

SERVER = RunParams(benchmark="llama3_1-8b", scenario="Server")
MODEL = Rule("model", "Model", "Llama-3.1-8B-Instruct", "smollm2", False, part="task")
SHORT = Rule("min-duration", "Minimum duration", ">= 600000 ms", "60000 ms", False, part="loadgen")


SUITES = {one.suite.folder: one for one in BENCHMARKS.values()}


@pytest.mark.parametrize("suite", SUITES)
def test_every_result_has_a_round_and_a_source(suite):
    table = published.results(SUITES[suite])
    assert table.empty == (suite in ("llama3.1-8b-edge", "llama3.1-405b", "mixtral-8x7b"))
    if table.empty:
        return
    assert table["round"].isin(["v5.1", "v6.0", "v6.1"]).all()
    assert table["source"].notna().all()
    # The engine and the precision of a row are known from its source, or they are not there.
    stated = table["source"] == "MLCommons' summary.json"
    assert table.loc[stated, ["engine", "precision"]].notna().all().all()
    guessed = table["engine"].str.startswith("TensorRT-LLM", na=False) & ~stated
    assert table[guessed]["engine"].str.endswith(", inferred").all()
    assert set(table["kind"]) <= {"CPU", "GPU"}
    assert (table[table["kind"] == "CPU"]["devices"] == 1).all()
    assert (table["devices"] >= 1).all()
    assert table["offline"].is_monotonic_decreasing


def test_another_model_is_not_comparable():
    # A short run of the right task may be compared.
    assert published.obstacles(SERVER, [MODEL, SHORT]) == ["other model"]
    assert published.obstacles(SERVER, [SHORT]) == []


def test_a_share_of_the_best_and_of_the_best_vllm():
    best, with_vllm = published.shares(SERVER, 5104.0, 2)
    assert best.system == (
        "8 x MI355X (vLLM 0.22.0, FP8 (its notes: MXFP4), v6.1, MLCommons' summary.json)"
    )
    assert (best.tokens_per_s, with_vllm.system) == (pytest.approx(18515, abs=1), best.system)
    assert best.share == pytest.approx(2552 / best.tokens_per_s)


def test_a_cpu_is_compared_with_cpus_as_well():
    *_, cpu = published.shares(SERVER, 114.0, 1, "CPU")
    assert (cpu.title, round(cpu.tokens_per_s)) == ("best on CPUs", 1140)
    assert cpu.system.startswith("1 x CPU system of 2 Xeon 6980P (PyTorch, INT8, v6.1")
    assert len(published.shares(SERVER, 114.0, 1)) == 2


def test_the_source_of_a_copied_result_is_named(monkeypatch):
    known = published.results(SERVER.rules)
    copied = known[known["source"].str.contains("copy")]
    monkeypatch.setattr(published, "results", lambda _: copied)
    *_, cpu = published.shares(SERVER, 45.1, 1, "CPU")
    assert round(cpu.tokens_per_s) == 451
    assert cpu.system.startswith("1 x CPU system of 2 Xeon (128 cores each) (v5.1, log in a p")


@pytest.mark.parametrize(
    ("benchmark", "scenario", "known"),
    [
        ("llama3_1-8b", "Offline", True),
        ("llama3_1-8b-interactive", "Server", True),
        ("llama3_1-8b", "SingleStream", False),
        ("llama3_1-8b-edge", "Offline", False),
        ("deepseek-r1", "Server", True),
        ("gpt-oss-120b", "Offline", True),
    ],
)
def test_results_are_of_the_runs_benchmark_and_scenario(benchmark, scenario, known):
    params = RunParams(benchmark=benchmark, scenario=scenario)
    assert bool(published.shares(params, 9.0, 1)) is known
    assert ("no published result" in str(published.obstacles(params, []))) is not known


def test_interactive_on_cpus_has_no_result_to_compare_with():
    params = RunParams(benchmark="llama3_1-8b-interactive", scenario="Server")
    assert "best on CPUs" not in [one.title for one in published.shares(params, 9.0, 1, "CPU")]


def test_the_edge_has_no_published_result():
    params = RunParams(benchmark="llama3_1-8b-edge", scenario="Offline")
    assert "no published result is known" in published.obstacles(params, [])[0]
    assert published.shares(params, 1.0, 1) == []


def test_a_servers_accelerators_are_not_known():
    served = SERVER.changed(engine="openai", base_url="http://a")
    assert published.obstacles(served, [SHORT]) == ["the server's accelerators are not known"]
