import pytest

from loadgen_study.params import RunParams
from loadgen_study.rules import published
from loadgen_study.rules.rule import Rule

SERVER = RunParams(benchmark="llama3_1-8b", scenario="Server")
MODEL = Rule("model", "Model", "Llama-3.1-8B-Instruct", "smollm2", False, part="task")
SHORT = Rule("min-duration", "Minimum duration", ">= 600000 ms", "60000 ms", False, part="loadgen")


def test_every_result_has_a_round_and_a_source():
    table = published.results()
    assert table["round"].isin(["v5.1", "v6.0", "v6.1"]).all()
    assert table["source"].notna().all()
    # The engine and the precision of a row are known from its source, or they are not there.
    told = table[table["source"] == "MLCommons' summary.json"]
    assert told[["engine", "precision"]].notna().all().all()
    guessed = table["engine"].str.startswith("TensorRT-LLM", na=False)
    assert table[guessed]["engine"].str.endswith(", inferred").all()
    assert {"CPU", "GPU"} == set(table["kind"])
    assert (table[table["kind"] == "CPU"]["devices"] == 1).all()
    assert (table["devices"] >= 1).all()
    assert table["offline"].is_monotonic_decreasing


def test_another_model_is_not_comparable():
    text = published.comparison(SERVER, 50.0, 1, [MODEL, SHORT])
    assert text == (
        "Not comparable with published MLPerf results: model is smollm2 (needed: "
        "Llama-3.1-8B-Instruct)."
    )


def test_a_share_of_the_best_and_of_the_best_vllm():
    # A short run of the right task may stand there: 2 x 2552 = 5104 tokens/s.
    text = published.comparison(SERVER, 5104.0, 2, [SHORT])
    system = "8 x MI355X (vLLM 0.22.0, FP8 (its notes: MXFP4), v6.1, MLCommons' summary.json)"
    assert f"2,552 tokens/s per accelerator is 14% of the 18,515 of {system}, the best" in text
    assert text.count(system) == 2
    assert "of those in the table" in text


def test_a_cpu_is_compared_with_cpus_as_well():
    text = published.comparison(SERVER, 114.0, 1, [], "CPU")
    assert "114 tokens/s per system of CPUs" in text
    assert "10% of the 1,140 of 1 x CPU system of 2 Xeon 6980P (PyTorch, INT8, v6.1" in text
    assert "on CPUs" not in published.comparison(SERVER, 114.0, 1, [])


def test_what_was_read_in_a_copy_says_so(monkeypatch):
    known = published.results()
    copied = known[known["source"].str.contains("copy")]
    monkeypatch.setattr(published, "results", lambda: copied)
    text = published.comparison(SERVER, 45.1, 1, [], "CPU")
    assert "10% of the 451 of 1 x CPU system of 2 Xeon (128 cores each) (v5.1, log in a p" in text


@pytest.mark.parametrize(
    ("benchmark", "scenario", "column"),
    [
        ("llama3_1-8b", "Offline", "offline"),
        ("llama3_1-8b-interactive", "Server", "interactive"),
        ("llama3_1-8b", "SingleStream", None),
        ("llama3_1-8b-edge", "Offline", None),
    ],
)
def test_a_run_belongs_to_one_column(benchmark, scenario, column):
    assert published.column(RunParams(benchmark=benchmark, scenario=scenario)) == column


def test_interactive_on_cpus_has_no_result_to_compare_with():
    params = RunParams(benchmark="llama3_1-8b-interactive", scenario="Server")
    assert "on CPUs" not in published.comparison(params, 1000.0, 1, [], "CPU")


def test_the_edge_has_no_published_result():
    params = RunParams(benchmark="llama3_1-8b-edge", scenario="Offline")
    assert "no published result is known" in published.comparison(params, 1.0, 1, [])


def test_a_servers_accelerators_are_not_known():
    served = SERVER.changed(engine="openai", base_url="http://a")
    text = published.comparison(served, 5104.0, 1, [SHORT])
    assert text.endswith("accelerators: those of the server are not known.")
