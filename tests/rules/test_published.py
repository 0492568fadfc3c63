import pytest

from vllm_loadgen.params import RunParams
from vllm_loadgen.rules import published
from vllm_loadgen.rules.rule import Rule

SERVER = RunParams(benchmark="llama3_1-8b", scenario="Server")
MODEL = Rule("Model", "Llama-3.1-8B-Instruct", "smollm2", "departs")
SHORT = Rule("Least duration", ">= 600000 ms", "60000 ms", "departs")


def test_every_result_has_a_round_and_an_engine():
    table = published.results()
    assert table["round"].isin(["v5.1", "v6.0"]).all()
    assert table["engine"].notna().all()
    assert (table["devices"] >= 1).all()
    assert table["offline"].is_monotonic_decreasing


def test_another_model_is_not_comparable():
    text = published.comparison(SERVER, 50.0, 1, [MODEL, SHORT])
    assert text == (
        "Not comparable with published MLPerf results: model: smollm2, not Llama-3.1-8B-Instruct."
    )


def test_a_share_of_the_best_and_of_the_best_vllm():
    # A short run of the right task may stand there: 2 x 2552 = 5104 tokens/s.
    text = published.comparison(SERVER, 5104.0, 2, [SHORT])
    assert "2,552 tokens/s per accelerator is 14% of the 17,696 of 8 x B300 (Tensor" in text
    assert "50% of the 5,104 of 1 x H100 (vLLM, FP8, v5.1), the best with vLLM" in text


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


def test_interactive_has_no_vllm_result_to_compare_with():
    params = RunParams(benchmark="llama3_1-8b-interactive", scenario="Server")
    assert "with vLLM" not in published.comparison(params, 1000.0, 1, [])


def test_the_edge_has_no_published_result():
    params = RunParams(benchmark="llama3_1-8b-edge", scenario="Offline")
    assert "no published result is known" in published.comparison(params, 1.0, 1, [])


def test_a_servers_accelerators_are_not_known():
    served = SERVER.changed(engine="openai", base_url="http://a")
    text = published.comparison(served, 5104.0, 1, [SHORT])
    assert text.endswith("accelerators: those of the server are not known.")
